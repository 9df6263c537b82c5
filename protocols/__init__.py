"""Other protocols for runs; requests are translated to the use cases of `runs`."""
