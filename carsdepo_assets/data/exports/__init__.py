"""Exports: a version of the dataset is written as a folder in a format that other tools read."""
