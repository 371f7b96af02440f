"""The pages that people open: one index, the reports, the lineage of a model or a prediction."""
