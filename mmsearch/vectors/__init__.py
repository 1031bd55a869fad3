"""Nearest-neighbour search over embeddings: FAISS files, and the exact search that checks them."""
