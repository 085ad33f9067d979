"""Conformance suites: signed files with expectations that any verifier can be asked about."""
