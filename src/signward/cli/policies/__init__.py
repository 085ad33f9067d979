"""The actions of ``signward policy``: one file each, offering ``ACTION``."""
