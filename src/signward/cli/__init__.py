"""The command line: parse arguments, call a verb, print."""
