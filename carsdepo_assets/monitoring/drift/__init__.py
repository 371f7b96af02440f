"""Whether a window of answers differs from the reference, by how much, in which feature and from which source."""
