"""Step 1: what to try; leaves a recipe."""
