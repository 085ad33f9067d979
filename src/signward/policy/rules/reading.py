"""Reading policies: TOML files and the keys they name, merged into one rule set.

A base comes first; each supplement names it, adds rules, exceptions and keys, and changes nothing
that is there.  Read strictly: a word that is not known is refused.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC
from itertools import chain

import msgspec

from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.matching import keyless_test
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    CDHASH_DIGITS,
    HEX_DIGITS,
    MAX_VERSION,
    Conditions,
    Document,
    Layer,
    Material,
    Mode,
    PublisherMatch,
    Requirements,
    RuleSet,
    Waiver,
)

MAX_OCTETS = 64 * 1024 * 1024
"""Largest policy file: 100,000 rules of some hundred octets, several times over."""

NAMESPACE = uuid.UUID("6f2f1c52-6e0b-5a3e-9d6a-5347574e0005")
"""Version 5 GUIDs of policies without an ``id`` are made in this namespace, of their names."""

ReadKey = Callable[[str, str], bytes]
"""Returns the bytes of a key's file, given the policy's name and ``file``."""


def read_document(name: str, data: bytes) -> Document:
    """Return the document in TOML (UTF-8).  ``name`` is told in messages.

    Raises ``PolicyError``.
    """
    if len(data) > MAX_OCTETS:
        raise PolicyError(name, f"{len(data)} octets", f"at most {MAX_OCTETS} in a policy")
    try:
        return msgspec.convert(tomllib.loads(data.decode()), Document)
    except msgspec.ValidationError as error:
        raise PolicyError(
            name, str(error), "a policy of schema 1",
            hint="docs/policy.schema.json and docs/policy.md say what may stand there",
        ) from None  # fmt: skip
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise PolicyError(name, str(error), "TOML in UTF-8") from None
    except RecursionError:
        raise PolicyError(name, "tables nested too deeply", "a policy") from None


def merge(documents: Sequence[Document], read_key: ReadKey) -> RuleSet:
    """Return the base, ``documents[0]``, with its supplements.  Raises ``PolicyError``."""
    if not documents:
        raise PolicyError("policy", "no document", "a base")
    base = documents[0]
    if base.supplements:
        raise PolicyError(f"policy {base.name}", f"a supplement of {base.supplements}",
                          "its base first")  # fmt: skip
    for document in documents[1:]:
        _check_supplement(document, base)
    _check_unique(documents)
    _check_spares(documents)
    _check_identities(documents)
    _check_digests(documents)
    _check_versions(documents)
    keys = {
        name: material(name, read_key(document.name, source.file))
        for document in documents
        for name, source in document.keys.items()
    }
    _check_keys(documents, keys)
    return RuleSet(
        name=base.name,
        version=base.version,
        id=base.id or guid(base.name),
        mode=base.mode or Mode.ENFORCE,
        requirements=base.requirements or Requirements(),
        rules=tuple(chain.from_iterable(d.rule for d in documents)),
        waivers=tuple(_ending_in_utc(w) for d in documents for w in d.exception),
        keys=keys,
        targets=base.targets,
        layers=tuple(_layer(document) for document in documents),
        note=base.note,
    )


def guid(name: str) -> str:
    """Return the lasting GUID of a policy of that name, lower case without braces."""
    return str(uuid.uuid5(NAMESPACE, name))


def _layer(document: Document) -> Layer:
    brought = frozenset(item.id for item in (*document.rule, *document.exception))
    return Layer(name=document.name, version=document.version,
                 id=document.id or guid(document.name), rules=brought)  # fmt: skip


def _check_supplement(document: Document, base: Document) -> None:
    if document.supplements != base.name:
        found = f"supplements = {document.supplements!r}"
        raise PolicyError(f"policy {document.name}", found, f"{base.name!r}, the base given first")
    for field in ("mode", "requirements"):
        if getattr(document, field) is not None:
            raise PolicyError(f"policy {document.name}", field, "none in a supplement: only the "
                              "base says it")  # fmt: skip
    if document.targets:
        raise PolicyError(f"policy {document.name}", "targets", "none in a supplement")


def _check_unique(documents: Iterable[Document]) -> None:
    documents = tuple(documents)
    ids = (item.id for d in documents for item in (*d.rule, *d.exception))
    for what, names in (
        ("rule or exception", ids),
        ("key", (name for d in documents for name in d.keys)),
        ("policy", (d.name for d in documents)),
    ):
        for name in _repeated(names):
            raise PolicyError(f"{what} {name}", "it twice", "every name once")


def _repeated(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)


def _check_spares(documents: Sequence[Document]) -> None:
    denying = {r.id for d in documents for r in d.rule if r.action == "deny"}
    for waiver in chain.from_iterable(d.exception for d in documents):
        if waiver.expires.tzinfo is None:
            raise PolicyError(f"exception {waiver.id}", "a time without its zone", "expires in UTC")
        for name in waiver.spares:
            if name not in denying:
                raise PolicyError(f"exception {waiver.id}", f"spares {name}", "a deny rule's id")


def _check_identities(documents: Sequence[Document]) -> None:
    """Refuse regular expressions that are none: what targets wrap them in would end within."""
    for item in chain.from_iterable((*d.rule, *d.exception) for d in documents):
        if item.identity:
            keyless_test(item.id, item.identity)


def _check_digests(documents: Sequence[Document]) -> None:
    """Refuse digests of another length than their algorithm's: a rule that denies never would."""
    for item in chain.from_iterable((*d.rule, *d.exception) for d in documents):
        for digest in (*item.digest, *(f"tbs:{p.tbs}" for p in publishers_of(item) if p.tbs)):
            of, algorithm, value = digest.split(":")
            wanted = CDHASH_DIGITS if of == "cdhash" else HEX_DIGITS[algorithm]
            if len(value) != wanted:
                raise PolicyError(f"rule {item.id}", f"{digest}, {len(value)} digits",
                                  f"{wanted} hexadecimal digits")  # fmt: skip


def _check_versions(documents: Sequence[Document]) -> None:
    """Refuse versions that no file has, and targets have no room for."""
    for item in chain.from_iterable((*d.rule, *d.exception) for d in documents):
        asked = item.product
        for version in (asked.minimum_version, asked.maximum_version) if asked else ():
            if version and max(map(int, version.split("."))) > MAX_VERSION:
                raise PolicyError(f"rule {item.id}", f"version {version}",
                                  f"four numbers of at most {MAX_VERSION}")  # fmt: skip


def _ending_in_utc(waiver: Waiver) -> Waiver:
    """Return the exception with its end in UTC, as targets and messages write it."""
    try:
        return replace(waiver, expires=waiver.expires.astimezone(UTC))
    except OverflowError:
        raise PolicyError(f"exception {waiver.id}", f"expires {waiver.expires.isoformat()}",
                          "a time of the years 1 to 9999 in UTC") from None  # fmt: skip


def _check_keys(documents: Sequence[Document], keys: dict[str, Material]) -> None:
    for item in chain.from_iterable((*d.rule, *d.exception) for d in documents):
        for name in key_names(item):
            if name not in keys:
                raise PolicyError(f"rule {item.id}", f"key {name!r}", "a name of [keys]")


def key_names(rule: Conditions) -> tuple[str, ...]:
    """Return the names of ``[keys]`` that a rule or an exception refers to."""
    return tuple(p.key for p in publishers_of(rule) if p.key)


def publishers_of(rule: Conditions) -> tuple[PublisherMatch, ...]:
    """Return every publisher that a rule or an exception speaks of."""
    several = rule.signers.of if rule.signers else ()
    return tuple(match for match in (rule.publisher, *several) if match is not None)
