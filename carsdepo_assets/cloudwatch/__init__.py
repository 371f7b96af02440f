"""Metrics for CloudWatch: their names in one place, and the lines on stdout of which CloudWatch Logs makes them."""
