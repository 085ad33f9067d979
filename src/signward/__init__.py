"""Signward tells who signed a piece of code, whether that still counts, and whether it may run."""

__version__ = "0.1.0.dev0"
