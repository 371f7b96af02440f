"""The demo: the whole loop on a rendered sample, or on a user's photographs. Only the command line imports it."""
