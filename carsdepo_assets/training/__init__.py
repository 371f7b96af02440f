"""Step 3: recipe and dataset become a judged, registered model."""
