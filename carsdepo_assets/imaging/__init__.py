"""Decode, orient, resize, measure and hash photographs."""
