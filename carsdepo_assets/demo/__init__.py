"""The demo: the whole loop on a rendered sample, or on photographs of the user. Only the command line imports it."""
