"""Fixtures that unit tests share; those of every test are named in the root's ``conftest.py``."""

from __future__ import annotations

from tests.desk import desk, server

__all__ = ["desk", "server"]
