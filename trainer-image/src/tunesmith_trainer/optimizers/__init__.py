"""Optimisers that neither torch nor Transformers has, and how every method's trainer gets the one its spec names."""
