"""An authority of one's own: what it signs, lints and logs.  No clock, no I/O, no keys, no SQL."""
