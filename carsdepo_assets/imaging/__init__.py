"""Decodes, turns upright, resizes, measures and hashes photographs."""
