"""Predictions of a model on the golden set and on a dataset, their cache, and the comparison of two models."""
