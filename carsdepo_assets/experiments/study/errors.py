"""The error that ends a study before or between its trials."""


class StudyError(ValueError):
    """A study cannot be made, or not go on; the message says why and what to do."""
