"""Step 6: compares production's traffic with the reference of its model, and acts on the difference."""
