"""Computes every number about the quality of a detector: matching, AP, thresholds, intervals, comparisons."""
