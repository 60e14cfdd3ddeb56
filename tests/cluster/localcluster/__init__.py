"""A real single-node Kubernetes for machines without Docker, built from Go modules and Debian packages."""
