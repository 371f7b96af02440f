"""Uploaded photographs: what is read from each, and the checks and the profile of their batches."""
