"""The dataset: groups, splits and versions."""
