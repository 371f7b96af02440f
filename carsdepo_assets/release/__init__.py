"""Step 4: from a registered model to staging and production, and back."""
