"""Signward: who signed this code, does that still count, and may it run here?"""

__version__ = "0.1.0.dev0"
