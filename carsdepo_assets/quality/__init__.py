"""Great Expectations and whylogs: each is imported by one module here, and by no other of the package."""
