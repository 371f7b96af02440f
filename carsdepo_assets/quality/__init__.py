"""Great Expectations and whylogs, one module each: no other module imports them."""
