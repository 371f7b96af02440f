"""Model versions, their lineage and the MLflow runs they came from."""
