"""Names the faults of a training while it trains. Pure rules over a record of signals; no Dagster, no torch."""
