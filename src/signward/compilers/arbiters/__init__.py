"""Arbiters: answers as a target would give them, from its files alone, one file a target."""
