"""Authenticated writes of UEFI variables (.auth), and the signature lists they write (.esl).

Sources: UEFI 2.10, 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2) and 32.4.1 (EFI_SIGNATURE_LIST).  A
write is a time, a SignedData and the content.  The value is over the variable's name (UTF-16LE),
its GUID, its attributes, the time and the content: of these the file holds the last two.  The name
is taken from the file's name where that tells it (``dbx``, ``dbxupdate_x64.bin``,
``db-d719b2cb-....auth``); else those of Secure Boot are tried in turn.  Whether a write replaces or
appends is an attribute too, so both are tried.

A signature list alone is a write that nobody has signed yet: signing makes one of it.  So is a
file of efivarfs, whose four octets of attributes go.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.envelopes.cms_over import bare, open_over, wrapped
from signward.errors import LimitError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.frozen import replace
from signward.state import (
    Algorithm,
    ClaimedSignature,
    Manifest,
    Reading,
    SignedArtifact,
    Source,
    Wanted,
)
from signward.wire import siglist
from signward.wire.certificate import common_name
from signward.wire.patch import Edit, PatchSet

MAX_SHOWN = 4096
"""Entries that `show` lists; Microsoft's dbx has some 450."""

NO_TIME = "none"
"""What stands for the time of a write that bears none."""

_WHAT = "authenticated variable"
_CLAUSE = "UEFI 2.10 8.2.2"
_NAMED = re.compile(
    r"(?P<name>[^/]+)-(?P<guid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.[a-z]+)?\Z",
    re.IGNORECASE,
)
_SHORT = re.compile(r"(?P<name>pk|kek|dbx|dbt|dbr|db)(?:update|default)?(?![a-z])", re.IGNORECASE)
_BY_LOWER = {name.lower(): name for name in siglist.VENDORS}
_ALGORITHM = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")


class EfiVariableFormat:
    """The format of authenticated writes, signed and to be signed."""

    name = "efi-variable"
    spec = "UEFI 2.10 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2), 32.4.1 (EFI_SIGNATURE_LIST)"
    extensions: tuple[str, ...] = (".auth", ".esl")

    options: Mapping[str, str] = MappingProxyType(
        {
            "variable": "PK, KEK, db, dbx, dbt or dbr (default: as the file is named)",
            "append": "yes: add to what stands there (no: take its place)",
        }
    )

    def recognise(self, peek: Peek) -> Match:
        """Recognise a time with a PKCS#7 behind it, or a list of a type that UEFI names."""
        found = siglist.is_update(peek.head) or siglist.is_content(peek.head)
        return Match.SPECIFIC if found else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the write, its signature and the lists in it."""
        held = siglist.stored(_whole(source))
        named = variable_of(source.name)
        lists = not named or named[0] in siglist.VENDORS
        entries = siglist.read_lists(held.content) if lists else ()
        signatures: tuple[ClaimedSignature, ...] = ()
        if held.update:
            readings = tuple(_readings(held.update, named))
            signatures = open_over(held.update.signed_data, readings, _WHAT, _CLAUSE)
        algorithms = ((s.label, s.algorithm) for s in signatures)
        return SignedArtifact(
            profile="uefi-variable",
            format=self.name,
            source=source,
            signatures=signatures,
            facts=dict(_facts(held, named, entries)),
            findings=tuple(_algorithm_finding(*s) for s in algorithms if s[1] != _ALGORITHM),
            layout=entries,
        )

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:  # noqa: ARG002
        """Return nothing: the value is over the content itself."""
        return {}

    def with_facts(self, artifact: SignedArtifact) -> SignedArtifact:
        """Return the artifact with a fact for each entry: type, whose, what."""
        entries: tuple[siglist.Entry, ...] = artifact.layout
        told = {f"entry {number:04}": told_of(one)
                for number, one in enumerate(entries[:MAX_SHOWN], 1)}  # fmt: skip
        return replace(artifact, facts={**artifact.facts, **told})

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the content as a write of the named variable, at the request's time."""
        from signward.envelopes.cms_plain import PlainDraft

        held = siglist.stored(_whole(source))
        may_sign(held.update is not None, request, _WHAT)
        _check_request(request)
        name, append = _target(source, request)
        siglist.read_lists(held.content)
        at = request.at.replace(microsecond=0)
        data = siglist.to_be_signed(name, held.content, at, append=append)
        signer = request.signer
        sealed = yield PlainDraft(content=data, signer=signer, attached=False, certificates=True)
        update = siglist.Update(at=at, signed_data=bare(sealed, _WHAT), content=held.content)
        return _replacing(source, siglist.authenticated(update))

    def stamped(self, signature: ClaimedSignature) -> None:
        """Return nothing: a write bears a time of its own, and has no place for another's."""

    def with_token(
        self,
        envelope: bytes,  # noqa: ARG002
        signature: ClaimedSignature,  # noqa: ARG002
        token: bytes,  # noqa: ARG002
    ) -> bytes:
        """Raise ``NotSignableError``: see `stamped`."""
        raise NotSignableError(_WHAT, "a timestamp", "none")

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the SignedData of a write, with a ContentInfo around it."""
        update = siglist.stored(_whole(source)).update
        return (wrapped(update.signed_data, _WHAT),) if update else ()

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that gives a write another envelope, or leaves its content alone.

        Raises ``NotSignableError`` where nothing says at which time the write is: content alone.
        """
        held = siglist.stored(_whole(source))
        if not envelopes:
            return _replacing(source, held.content)
        if held.update is None:
            raise NotSignableError(_WHAT, "content without a time", "an authenticated write")
        update = replace(held.update, signed_data=bare(envelopes[0], _WHAT))
        return _replacing(source, siglist.authenticated(update))


def variable_of(path: str) -> tuple[str, str] | None:
    """Return the name and the GUID (lower case) of the variable that a file is named after.

    None where its name does not tell.
    """
    base = path.rpartition("/")[2]
    full = _NAMED.match(base)
    if full:
        name = _BY_LOWER.get(full["name"].lower(), full["name"])
        return name, full["guid"].lower()
    short = _SHORT.match(base)
    if not short:
        return None
    name = _BY_LOWER[short["name"].lower()]
    return name, siglist.VENDORS[name]


def told_of(entry: siglist.Entry) -> str:
    """Return an entry in one line: type, what it names, its owner."""
    version, kind = siglist.svn(entry), _kind(entry)
    what = str(version) if version else entry.data[:80].hex()
    if kind == "x509":
        what = f"{common_name(entry.data)} sha256 {hashlib.sha256(entry.data).hexdigest()}"
    elif kind.startswith("x509-"):
        since = siglist.revocation_time(entry)
        told = f"{since:%Y-%m-%dT%H:%M:%SZ}" if since else "ever"
        what = f"{entry.data[:-16].hex()} since {told}"
    return f"{kind} {what} owner {entry.owner}"


def _kind(entry: siglist.Entry) -> str:
    form = siglist.FORMS.get(entry.kind)
    return "svn" if siglist.svn(entry) else form.name if form else entry.kind


def _whole(source: Source) -> bytes:
    if source.length > siglist.MAX_OCTETS:
        raise LimitError(_WHAT, f"{source.length} octets", f"at most {siglist.MAX_OCTETS}")
    return source.read(0, source.length)


def _facts(
    held: siglist.Stored, named: tuple[str, str] | None, entries: tuple[siglist.Entry, ...]
) -> Iterator[tuple[str, str | int]]:
    if named:
        yield "variable", named[0]
        yield "guid", named[1]
    if held.update:
        none = held.update.at == siglist.NO_TIME
        yield "time", NO_TIME if none else f"{held.update.at:%Y-%m-%dT%H:%M:%SZ}"
    if held.attributes is not None:
        yield "attributes", f"{held.attributes:#x}"
    yield "entries", len(entries)
    yield from sorted(Counter(map(_kind, entries)).items())


# --- what a signature is over ----------------------------------------------------------------


def _readings(update: siglist.Update, named: tuple[str, str] | None) -> Iterator[Reading]:
    """Yield what the value may be over: each name in question, replacing and appending."""
    for name, guid in [named] if named else siglist.VENDORS.items():
        for append in (False, True):
            data = siglist.to_be_signed(
                name, update.content, update.at, append=append, guid=guid, time=update.time
            )
            yield Reading(what=f"{name}, {'append' if append else 'replace'}", data=data)


def _algorithm_finding(label: str, algorithm: Algorithm) -> Finding:
    return Finding(
        code=Code.UNSUPPORTED_ALGORITHM,
        effect=Effect.WARN,
        subject=f"signature {label}",
        found=str(algorithm),
        required=f"{_ALGORITHM}: much firmware takes no other",
        clause=_CLAUSE,
    )


# --- signing ---------------------------------------------------------------------------------


def _check_request(request: Request) -> None:
    algorithm = request.signer.algorithm
    if algorithm != _ALGORITHM:
        raise NotSignableError(
            _WHAT, f"{algorithm.scheme} with {request.signer.digest}", "RSA with SHA-256",
            hint=f"firmware need not know another ({_CLAUSE})",
        )  # fmt: skip
    if request.existing is Existing.NESTED:
        raise NotSignableError(_WHAT, "a further signature", "one: a write has room for no other")


def _target(source: Source, request: Request) -> tuple[str, bool]:
    """Return the variable to be written and whether appending; by options, else by names."""
    named = variable_of(source.name)
    asked = request.options.get("variable", named[0] if named else "")
    name = _BY_LOWER.get(asked.lower())
    append = request.options.get("append", "no")
    if name is None or append not in ("yes", "no"):
        raise NotSignableError(
            _WHAT, f"variable {asked or 'not named'}, append {append}",
            f"one of {', '.join(siglist.VENDORS)}, and yes or no",
            hint="--option variable=dbx says which one is written",
        )  # fmt: skip
    return name, append == "yes"


def _replacing(source: Source, data: bytes) -> PatchSet:
    return PatchSet(edits=(Edit(start=0, end=source.length, data=data),))


FORMAT = EfiVariableFormat()
