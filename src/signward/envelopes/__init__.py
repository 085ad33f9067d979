"""One file per signature encoding."""
