"""Path, usage, proven time and revocation: pure functions of evidence and an instant."""
