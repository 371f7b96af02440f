"""Step 5: the service that answers, and the log of what it answered."""
