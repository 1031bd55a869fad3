"""Indexing: scan, decode, encode, store; and the change of a model."""
