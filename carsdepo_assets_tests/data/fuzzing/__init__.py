"""Mutated folders for imports: what people and their tools get wrong, seeded."""
