"""The rendered sample lake."""
