"""Certificate profiles: data (``profiles.toml``), read strictly."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from importlib import resources

import msgspec

from signward.errors import AuthorityError
from signward.frozen import Frozen, decoder

ROOT = "root"
"""The profile of what signs itself; only ``ca init`` makes one."""

LONGEST = timedelta(days=100 * 365.25)
"""Of what may be asked for: far more than any profile gives, and no calendar ends before it."""

_DURATION = re.compile(r"([0-9]{1,5})([ymdhs])")
_UNITS = {
    "y": timedelta(days=365.25),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}


class Profile(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a certificate of a kind holds; ``profiles.toml`` tells what the fields mean."""

    help: str
    valid: str
    at_most: str
    key_usage: tuple[str, ...]
    keys: tuple[str, ...]
    subject: tuple[str, ...]
    ca: bool = False
    path_length: int | None = None
    ekus: tuple[str, ...] = ()
    ekus_critical: bool = False
    names: tuple[str, ...] = ()
    names_required: bool = False
    policy: int | None = None
    constraints: bool = False
    no_check: bool = False
    rules: tuple[str, ...] = ()
    name: str = ""

    @property
    def use(self) -> str:
        """What its keys are for: no key is certified for two uses.

        ``authority``, or the first extended key usage: what signs code may sign kernel modules.
        """
        return "authority" if self.ca else self.ekus[0]

    @property
    def lifetime(self) -> timedelta:
        """How long a certificate is valid where nobody says."""
        return duration(self.valid)

    @property
    def longest(self) -> timedelta:
        """How long one may be valid."""
        return duration(self.at_most)


@lru_cache(maxsize=1)
def profiles() -> dict[str, Profile]:
    """Return every profile by name."""
    data = resources.files("signward.authority").joinpath("profiles.toml").read_bytes()
    decoder(Profile)  # before threads meet it
    read = msgspec.toml.decode(data, type=dict[str, Profile])
    return {name: msgspec.structs.replace(one, name=name) for name, one in read.items()}


def profile(name: str) -> Profile:
    """Return the profile of that name.  Raises ``AuthorityError``."""
    found = profiles().get(name)
    if found is None:
        listed = ", ".join(profiles())
        raise AuthorityError("profile", repr(name[:60]), f"one of {listed}")
    return found


def duration(text: str) -> timedelta:
    """Return the length of ``10m`` (minutes), ``24h``, ``460d``, ``8y`` (of 365.25 days).

    Raises ``AuthorityError``.
    """
    match = _DURATION.fullmatch(text)
    length = int(match[1]) * _UNITS[match[2]] if match else timedelta()
    if not timedelta() < length <= LONGEST:
        raise AuthorityError("duration", repr(text[:40]),
                             "one such as 10m, 24h, 365d or 8y, at most 100y")  # fmt: skip
    return timedelta(seconds=int(length.total_seconds()))
