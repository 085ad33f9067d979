"""Verdicts turned into text, JSON, CSV, SARIF and HTML."""
