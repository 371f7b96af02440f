"""Label files: their formats, whose photographs and which classes they mean, and the revisions that come of them."""
