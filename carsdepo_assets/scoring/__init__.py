"""Every number about a detector's quality."""
