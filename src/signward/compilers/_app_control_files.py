"""App Control's files, XML and binary, into policies: a base and what supplements it."""

from __future__ import annotations

from collections.abc import Mapping

from signward.compilers._cip import read_cip
from signward.compilers._sipolicy import SiPolicy
from signward.compilers._sipolicy_read import read_xml
from signward.errors import PolicyError

MAX_POLICIES = 64
"""Windows took 32 active policies before it took more."""


def read_policies(files: Mapping[str, bytes]) -> tuple[SiPolicy, ...]:
    """Return the policies in these files, bases first, each once: XML goes before ``.cip``.

    XML keeps names that the binary form does not.  Raises ``PolicyError``.
    """
    if len(files) > 2 * MAX_POLICIES:
        raise PolicyError("policies", f"{len(files)} files", f"at most {2 * MAX_POLICIES}")
    found: dict[str, SiPolicy] = {}
    for name, data in sorted(files.items(), key=lambda item: not _is_xml(item[1])):
        policy = read_xml(name, data) if _is_xml(data) else read_cip(name, data)
        found.setdefault(policy.id, policy)
    if not found:
        raise PolicyError("policies", "none", "SiPolicy XML, or .cip")
    return tuple(sorted(found.values(), key=lambda policy: policy.is_supplement))


def _is_xml(data: bytes) -> bool:
    """Say whether this is XML: it begins with ``<``, be it behind a byte order mark."""
    return data.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1] == b"<"
