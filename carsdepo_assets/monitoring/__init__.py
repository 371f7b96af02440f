"""Step 6: what the model met against what it knows, and what follows from the difference."""
