"""What health looks at: `builtin.py` has what every plugin checks, and lists the checks of the store and the fleet."""
