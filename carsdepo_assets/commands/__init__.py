"""What the carsdepo command does, one module a command."""
