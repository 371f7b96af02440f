"""A study: trainings that try recipes on one dataset, their ledger, and the recipe that follows from them."""
