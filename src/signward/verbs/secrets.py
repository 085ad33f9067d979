"""Where secrets come from: a file, the environment, or a prompt; never a command line.

A secret is asked for by what it is for.  A name in capitals (``VAULT_TOKEN``) is that of an
environment variable: it is looked up there, or in the file that ``VAULT_TOKEN_FILE`` names,
and never prompted for.  Any other name ("password of release.p12") is a password or PIN:
the first line of the password file, else the password variable, else a prompt.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from signward.errors import KeyProviderError

PASSWORD_VARIABLE = "SIGNWARD_PASSWORD"  # noqa: S105 - a name

MAX_SECRET = 64 * 1024
"""Largest secret file read, in octets; the longest secrets are tokens of some kB."""

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


class SecretFinder:
    """Finds each secret once (a ``keys.Secrets``); what it found is in no ``repr``."""

    def __init__(
        self,
        pass_file: str = "",
        variable: str = PASSWORD_VARIABLE,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._pass_file, self._variable = pass_file, variable
        self._environment = os.environ if environment is None else environment
        self._found: dict[str, str | None] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "SecretFinder()"

    def __call__(self, name: str) -> str | None:
        """Return the secret of that name, or None.  Raises ``KeyProviderError``."""
        with self._lock:
            if name not in self._found:
                is_variable = _VARIABLE.fullmatch(name)
                self._found[name] = self._token(name) if is_variable else self._password(name)
            return self._found[name]

    def _token(self, name: str) -> str | None:
        if self._environment.get(name):
            return self._environment[name]
        path = self._environment.get(f"{name}_FILE", "")
        return _read(path).strip() if path else None

    def _password(self, name: str) -> str | None:
        if self._pass_file:
            return _read(self._pass_file).partition("\n")[0].removesuffix("\r")
        if self._variable in self._environment:
            return self._environment[self._variable]
        return _prompted(name)


def new_password(name: str, pass_file: str = "") -> str | None:
    """Return a password that something is to be locked with; typed twice where it is typed.

    None or empty where there is none.  Raises ``KeyProviderError``.
    """
    found = SecretFinder(pass_file)(name)
    if found and SecretFinder(pass_file)(f"{name}, again") != found:
        raise KeyProviderError(name, "two that differ", "the same twice")
    return found


def _prompted(name: str) -> str | None:
    """Ask at the terminal; None where there is none, or nobody answers."""
    if not sys.stdin or not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(f"{name}: ")
    except EOFError:
        return None


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_SECRET + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no such name"
        raise KeyProviderError(path, why, "a file that holds a secret") from None
    if len(data) > MAX_SECRET:
        raise KeyProviderError(path, "a larger file", f"a secret of at most {MAX_SECRET} octets")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KeyProviderError(path, "octets that are no UTF-8", "a secret as text") from None
