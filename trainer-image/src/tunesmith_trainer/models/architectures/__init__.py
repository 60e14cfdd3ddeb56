"""Architectures from scratch: which class of Transformers an architecture is, and our own decoder for all others."""
