"""Importers: a target's own policy read back into rules, one file a target."""
