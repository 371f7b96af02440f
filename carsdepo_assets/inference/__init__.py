"""The inference step: the service that inspects photographs, and the log of its answers."""
