"""Other protocols for the same runs, translated to the use cases of `runs`."""
