"""The HTTP shell of an authority: one file a role, parse, call a verb, answer."""
