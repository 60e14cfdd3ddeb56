"""What a job wants to exist: pure functions from a frozen run to manifests."""
