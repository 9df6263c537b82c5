"""Other ways to the same runs: translations of protocols to the use cases of `runs`."""
