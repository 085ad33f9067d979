"""What is accepted: rules, switches and the one `evaluate` function."""
