"""What is known of a fleet: hosts, distinct files, and where each file was seen.

Plain values that an inventory hands to whoever asks what a policy would do to it.
"""

from __future__ import annotations

from typing import NamedTuple

from signward.frozen import Frozen
from signward.policy.rules.subject import Subject

MAX_HOSTS = 100_000
"""Hosts of one inventory: sets of hosts are kept as bits, 12.5 kB each at this number."""


class Host(Frozen, frozen=True, kw_only=True):
    """A host by its name, and its tags as rules' ``hosts`` name them."""

    name: str
    tags: frozenset[str] = frozenset()


class Place(NamedTuple):
    """Where a file was seen: the host by its place in the list of hosts, the path, how often."""

    host: int
    path: str
    times: int = 1


class Known(NamedTuple):
    """One distinct file: its subject (without path, host and tags) and everywhere it was seen.

    ``number`` grows from one file to the next, and stays the same while a fleet is read.
    """

    number: int
    subject: Subject
    places: list[Place]


def host_bits(places: list[Place]) -> int:
    """Return the hosts of these places as a set of bits: bit N is host N."""
    if len(places) == 1:
        return 1 << places[0].host
    octets = bytearray(max(place.host for place in places) // 8 + 1)
    for place in places:
        octets[place.host >> 3] |= 1 << (place.host & 7)
    return int.from_bytes(octets, "little")
