"""Carsdepo: a Dagster asset-based data platform that finds scratches and dents on cars."""

__version__ = "0.1.0"
