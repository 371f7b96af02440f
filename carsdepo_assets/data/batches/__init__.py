"""Batches of new files: how they are closed, rolled up and, where files were refused, looked at again."""
