"""Step 3: recipe and dataset become an evaluated, registered model."""
