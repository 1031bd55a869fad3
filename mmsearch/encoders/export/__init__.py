"""Exports of models for ONNX Runtime: when one is made, how, and what it is on the disk."""
