"""Signed policies: a TOML document and the keys it names, as one payload.

The payload is JSON in a DSSE envelope of type ``PAYLOAD_TYPE``.  It holds the policy's text as it
was written and the octets (Base64) of every file its ``[keys]`` name, under the names they have
there: whom a policy trusts is signed with it.  Equal documents give equal octets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import msgspec

from signward.errors import PolicyError
from signward.frozen import Frozen, decoder
from signward.policy.rules.material import MAX_OCTETS as MAX_KEY_OCTETS
from signward.policy.rules.material import material
from signward.policy.rules.model import Document
from signward.policy.rules.reading import read_document

PAYLOAD_TYPE = "application/vnd.signward.policy+json"

MAX_KEY_FILES = 4096
"""Files that one policy may carry: publishers by key are few beside those by name."""


class Payload(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed.  ``keys`` maps each ``file`` of ``[keys]`` to that file's octets."""

    format: Literal["signward-policy"] = "signward-policy"
    schema: Literal[1] = 1
    policy: str
    keys: Annotated[dict[str, bytes], msgspec.Meta(max_length=MAX_KEY_FILES)] = msgspec.field(
        default_factory=dict
    )


def payload_of(name: str, data: bytes, read_key: Callable[[str], bytes]) -> bytes:
    """Return the payload for the policy in ``data`` (TOML); ``read_key`` reads a ``file``.

    Raises ``PolicyError`` for what is no policy, and for a key that is none.
    """
    document = read_document(name, data)
    keys = {source.file: read_key(source.file) for source in document.keys.values()}
    if len(keys) > MAX_KEY_FILES:
        raise PolicyError(name, f"{len(keys)} files of keys", f"at most {MAX_KEY_FILES}")
    for key, source in document.keys.items():
        material(key, keys[source.file])
    made = Payload(policy=data.decode(), keys=dict(sorted(keys.items())))
    return msgspec.json.encode(made)


def read_payload(name: str, payload: bytes) -> tuple[Document, Mapping[str, bytes]]:
    """Return the document in a payload whose signature was checked, and its files of keys.

    Raises ``PolicyError``.
    """
    try:
        read = decoder(Payload).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyError(name, str(error)[:200], "a signed policy of schema 1") from None
    for file, octets in read.keys.items():
        if len(octets) > MAX_KEY_OCTETS:
            found = f"{len(octets)} octets in key file {file[:80]!r}"
            raise PolicyError(name, found, f"at most {MAX_KEY_OCTETS}")
    return read_document(name, read.policy.encode()), read.keys
