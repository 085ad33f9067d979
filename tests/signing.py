"""Signing in tests without a command line: a format's own rounds, driven with a test identity."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from conformance.authenticode.keys import Key, key
from conformance.authenticode.pki import NOW, Identity, issue, pem

from signward.envelopes import Signer, stamped
from signward.envelopes.openpgp_cert import keys_of
from signward.formats import Request, Signable, peek_at, recognise
from signward.frozen import replace
from signward.keys._local import LocalKey
from signward.state import Algorithm, Source, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.patch import Patched, PatchSet, pieces
from signward.wire.source import BytesSource
from tests.builders import openpgp


@cache
def authority(kind: str = "rsa2048") -> Identity:
    """Return a root that issues signing certificates."""
    return issue(
        "Signing Test Root", subject_key=key(kind, "signing-root"), ca=True, ekus=None,
        usage=("keyCertSign", "cRLSign"), not_before=datetime.fromisoformat("2010-01-01T00:00Z"),
        not_after=datetime.fromisoformat("2040-01-01T00:00Z"),
    )  # fmt: skip


@cache
def identity(kind: str = "rsa2048", name: str = "Signing Test Publisher") -> Identity:
    """Return a code signer of the given kind of key (``conformance.authenticode.keys``)."""
    return issue(name, issuer=authority(), subject_key=key(kind, f"signer-{name}"))


def algorithm_of(of: Key, digest: str) -> Algorithm:
    """Return the signature algorithm a test key signs with."""
    schemes = {"rsa": "rsa-pkcs1v15", "ec": "ecdsa"}
    if of.family in schemes:
        return Algorithm(scheme=schemes[of.family], digest=digest)
    return Algorithm(scheme=of.family)


def signer_of(who: Identity, digest: str = "sha256") -> Signer:
    """Return the signer a request names: the identity's path without its root, and algorithm."""
    return Signer(
        certificates=tuple(one.certificate for one in who.path if one.issuer),
        algorithm=algorithm_of(who.key, digest),
        digest=digest,
    )


@cache
def holder_of(who: Identity) -> tuple[openpgp.Key, bytes]:
    """Return a test identity's key as OpenPGP has it, and the certificate that holds it."""
    family = {"rsa": "rsa", "ed25519": "eddsa"}.get(who.key.family, who.key.kind)
    own = openpgp.Key(family, private=who.key.private)
    return own, openpgp.certificate(own, openpgp.user_id(own, b"Signing Test Publisher"))


def held_signer(who: Identity, digest: str = "sha256") -> Signer:
    """Return the signer a request names where an OpenPGP certificate holds the key."""
    signer = signer_of(who, digest)
    if who.key.family.startswith("ml-dsa"):
        return signer  # no certificate can hold it
    return replace(signer, certificates=(), holder=keys_of(holder_of(who)[1])[0])


def patch_of(
    source: Source,
    *,
    held: bool = False,
    who: Identity | None = None,
    digest: str = "sha256",
    stamp: Callable[[bytes], bytes] | None = None,
    at: datetime = NOW,
    **asked: Any,
) -> PatchSet:
    """Return the patch that signs ``source``; ``asked`` goes into the request.

    ``stamp`` makes a TimeStampToken (DER) from a signature value.  ``held``: the key is one that
    an OpenPGP certificate holds.
    """
    who = who or identity()
    form = recognise(peek_at(source))
    assert isinstance(form, Signable), f"{source.name}: not signable"
    asked.setdefault("extension", peek_at(source).extension)
    signer = held_signer(who, digest) if held else signer_of(who, digest)
    rounds = form.sign(source, Request(signer=signer, at=at, **asked))
    try:
        draft = next(rounds)
        while True:
            if draft.algorithm.digested:
                value = LocalKey("test", who.key.private).sign(draft.to_be_signed, draft.algorithm)
            else:
                value = who.key.sign(draft.to_be_signed, draft.algorithm.digest or digest)
            subject = stamped(draft, value)
            tokens = (stamp(subject),) if stamp and subject is not None else ()
            draft = rounds.send(draft.seal(value, tokens))
    except StopIteration as stop:
        patch: PatchSet = stop.value
        return patch


def sign_beside(
    form: Signable, content: bytes, who: Identity | None = None, digest: str = "sha256"
) -> bytes:
    """Return the signature that a format writes beside ``content``."""
    who = who or identity()
    source = BytesSource("file", content)
    rounds = form.sign(source, Request(signer=signer_of(who, digest), at=NOW))
    draft = next(rounds)
    value = LocalKey("test", who.key.private).sign(draft.to_be_signed, draft.algorithm)
    try:
        rounds.send(draft.seal(value))
    except StopIteration as stop:
        patch: PatchSet = stop.value
        return b"".join(pieces(Patched(source, patch)))
    raise AssertionError("one signature is one round")


def sign_bytes(name: str, data: bytes, **asked: Any) -> bytes:
    """Return ``data`` signed as the format of its name and content signs it."""
    source = BytesSource(name, data)
    return b"".join(pieces(Patched(source, patch_of(source, **asked))))


def strip_bytes(name: str, data: bytes) -> bytes:
    """Return ``data`` without its signatures."""
    source = BytesSource(name, data)
    form = recognise(peek_at(source))
    assert isinstance(form, Signable)
    return b"".join(pieces(Patched(source, form.embed(source, ()))))


def context(folder: Path, *anchors: Identity, at: datetime = NOW, **options: Any) -> Context:
    """Return a context that trusts the test authority (or ``anchors``) at ``at``."""
    names = []
    for number, anchor in enumerate(anchors or (authority(),)):
        path = folder / f"anchor-{number}.pem"
        path.write_bytes(pem(anchor.certificate))
        names.append(str(path))
    return Context(Options(anchors=tuple(names), at=at, **options))


def assess_bytes(name: str, data: bytes, folder: Path, **options: Any) -> Verdict:
    """Return the verdict on bytes under the test authority."""
    return assess(BytesSource(name, data), context(folder, **options))
