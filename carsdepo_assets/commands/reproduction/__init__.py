"""Makes a model again from its lineage.json, in a clean folder, and compares both field by field."""
