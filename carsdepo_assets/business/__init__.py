"""The figures that the business decides by."""
