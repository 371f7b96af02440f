"""Exports of a trained detector to ONNX, the runtimes that serve them, and the check that they predict the same."""
