"""Step 1: the recipe of the next training, the photographs to label next, and experiments."""
