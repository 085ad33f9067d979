"""Deeds on policies: loading, trying, compiling, intake; one module each."""
