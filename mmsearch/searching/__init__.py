"""Searching: embed, find candidates, rank them exactly, say how sure they are."""
