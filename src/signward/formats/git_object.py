"""Commits and tags of git, each by itself: what ``git cat-file`` writes, or a loose object.

What is signed is one object.  It names its tree, its parents or what it tags by digest, mostly
SHA-1: that these are whole, nothing here looks at.  A ``mergetag`` header holds another object with
a signature of its own; it is content here, and makes nothing signed.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from signward.envelopes import Draft, Signer
from signward.errors import AmbiguousError, MalformedError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Match, ParseOptions, Peek, Request, Signing, may_sign
from signward.formats._git_text import MAX_OBJECT, GitText, looks_like_one, read_text, unpacked
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Manifest, Region, SignedArtifact, Source, Wanted
from signward.wire.patch import Edit, PatchSet
from signward.wire.source import BytesSource

OBJECT = "object"
"""The slot of the octets that are signed: the object without its signature."""

NAMESPACE = "git"
"""What git's SSH signatures are made for."""

EXTENSIONS = ("", ".commit", ".tag", ".txt")
"""What names of objects end with: text that is run by its name must not be taken for one."""

_SSH, _PGP = b"-----BEGIN SSH SIGNATURE-----", b"-----BEGIN PGP "
_PEM = re.compile(
    rb"-----BEGIN SIGNED MESSAGE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END SIGNED MESSAGE-----\n*"
)
_COLUMNS = 64
_PLACE = re.compile(r"(?:^|/)objects/([0-9a-f]{2})/([0-9a-f]{38}|[0-9a-f]{62})$")
_WHAT = "git object"
_CLAUSE = "git's signature-format"


class _Opened(Frozen, frozen=True, kw_only=True):
    """The claimed signature, by which profile it is judged, and the octets its slots are of."""

    signature: ClaimedSignature
    profile: str
    slots: Mapping[str, bytes]


class GitObjectFormat:
    """A commit or a tag; ``expected`` is the name (hex) a repository has it by.

    ``tag`` is what the repository calls a tag, empty where an object is asked for by its name.
    """

    name = "git-object"
    spec = "git's signature-format: commits and tags"
    extensions: tuple[str, ...] = (".commit", ".tag")
    options: Mapping[str, str] = MappingProxyType({})

    def __init__(self, expected: str = "", tag: str = "") -> None:
        self._expected, self._tag = expected, tag

    def recognise(self, peek: Peek) -> Match:
        """Recognise the first headers of an object, by itself or packed."""
        likely = peek.extension in EXTENSIONS and looks_like_one(peek.head)
        return Match.MAGIC if likely else Match.NO

    def parse(self, source: Source, options: ParseOptions) -> SignedArtifact:  # noqa: ARG002
        """Read the object and open its one signature."""
        text, loose = _read(source)
        opened = _open(text) if text.signature else None
        signatures = (opened.signature,) if opened else ()
        return SignedArtifact(
            format=self.name,
            source=source,
            signatures=signatures,
            required={one.label: frozenset(opened.slots) for one in signatures if opened},
            regions=(*text.regions, *loose),
            profile=opened.profile if opened else "git",
            facts=_facts(text),
            findings=(*_misnamed(text, self._expected or _place(source.name)),
                      *_renamed(text, self._tag)),
            layout=opened.slots if opened else {},
        )  # fmt: skip

    def digests(self, artifact: SignedArtifact, wanted: Wanted) -> Manifest:
        """Compute the digests of what is signed: the object, as each signature takes it."""
        slots: Mapping[str, bytes] = artifact.layout
        return {
            (name, algorithm): hashlib.new(algorithm, slots[name], usedforsecurity=False).digest()
            for name, algorithm in wanted
            if name in slots
        }

    def sign(self, source: Source, request: Request) -> Signing:
        """Sign the object.  Its name is another then: whoever stores it gives it that."""
        text, _ = _plain(source)
        may_sign(bool(text.signature), request, text.kind)
        if text.signature and request.existing is Existing.NESTED:
            raise NotSignableError(text.kind, "--nested", "one signature: git reads no more")
        if text.regions or (text.kind == "tag" and not text.payload.endswith(b"\n")):
            raise NotSignableError(text.kind, "another signature's header, or no line's end",
                                   "an object that a signature can be put into")  # fmt: skip
        sealed = yield _draft(text.payload, request)
        return self.embed(source, (sealed,))

    def profile_by(self, signer: Signer) -> str:
        """Return the profile that signatures by a signer are judged by."""
        kind = signer.holder.kind if signer.holder else ""
        return {"openpgp": "openpgp", "sshsig": "git-ssh"}.get(kind, "git")

    def envelopes(self, source: Source) -> tuple[bytes, ...]:
        """Return the signature: DER of CMS, else as it stands."""
        text, _ = _read(source)
        if not text.signature:
            return ()
        return (text.signature if text.signature.startswith((_SSH, _PGP)) else _der(text),)

    def embed(self, source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
        """Return the patch that puts a signature where git puts it, or takes it out."""
        text, _ = _plain(source)
        if len(envelopes) > 1:
            raise NotSignableError(text.kind, f"{len(envelopes)} signatures", "one")
        data = b""
        if envelopes:
            armoured = _armoured(envelopes[0])
            lines = armoured.removesuffix(b"\n").split(b"\n")
            data = text.name + b" " + b"\n ".join(lines) + b"\n" if text.name else armoured
        start, end = text.place
        return PatchSet(edits=(Edit(start=start, end=end, data=data),))


def _read(source: Source) -> tuple[GitText, tuple[Region, ...]]:
    """Return the object, and what stands behind it where it is packed."""
    size = min(source.length, MAX_OBJECT + 1)
    data = source.read(0, size)
    if data[:1] != b"\x78":
        return read_text(data), ()
    kind, raw, end = unpacked(data)
    behind = Region(start=end, end=source.length, what="octets behind the object")
    return read_text(raw, kind), (behind,) if end < source.length else ()


def _plain(source: Source) -> tuple[GitText, tuple[Region, ...]]:
    """Return an object that is not packed.  Raises ``NotSignableError`` for one that is."""
    if source.read(0, min(1, source.length)) == b"\x78":
        raise NotSignableError(
            _WHAT, "an object of a repository", "the object by itself: signed it has another name",
            hint="git cat-file commit ID > ID.commit; afterwards git hash-object -t commit -w",
        )  # fmt: skip
    return _read(source)


def _place(name: str) -> str:
    """Return the name that a loose object's place gives it; empty for a file anywhere else."""
    found = _PLACE.search(name)
    return found[1] + found[2] if found else ""


def _misnamed(text: GitText, expected: str) -> Iterator[Finding]:
    if expected and expected != text.object_id:
        yield Finding(
            code=Code.DIGEST_MISMATCH, effect=Effect.REJECT, subject=text.kind,
            found=f"{text.algorithm} {text.object_id}", required=f"{expected}, its name",
            clause="git fsck", hint="the object was changed, or put in another's place",
        )  # fmt: skip


def _renamed(text: GitText, tag: str) -> Iterator[Finding]:
    """Object to a tag under a ref of another name: an older release could stand for a newer."""
    said = text.told("tag")
    if tag and text.kind == "tag" and said != tag:
        yield Finding(
            code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject=f"refs/tags/{tag}",
            found=f"a tag that calls itself {said!r}", required=repr(tag),
            clause="git describe: \"tag is externally known as\"",
            hint="nobody signs refs: ask for the tag by its object's name to judge it by itself",
        )  # fmt: skip


def _facts(text: GitText) -> Mapping[str, str]:
    """Return what the object says, and its name computed anew."""
    names = ("tree", "committer") if text.kind == "commit" else ("object", "type", "tag", "tagger")
    told = {name: text.told(name) for name in names}
    if "object" in told:
        told["target"] = told.pop("object")
    return {"object": text.kind, "id": text.object_id, **{k: v for k, v in told.items() if v}}


def _open(text: GitText) -> _Opened:
    """Open the signature.  Raises ``MalformedError``, and ``AmbiguousError`` for several."""
    blob = text.signature
    if blob.startswith(_SSH):
        return _open_ssh(text)
    if blob.startswith(_PGP):
        from signward.envelopes.openpgp import open_detached as open_openpgp

        found = open_openpgp(blob, OBJECT)
        _check_one(len(found))
        slots = {one.claimed.over: one.before + text.payload + one.behind for one in found}
        return _Opened(signature=found[0].claimed, profile="openpgp", slots=slots)
    from signward.envelopes.cms_detached import open_detached

    signatures = open_detached(_der(text), OBJECT)
    _check_one(len(signatures))
    return _Opened(signature=signatures[0], profile="git", slots={OBJECT: text.payload})


def _open_ssh(text: GitText) -> _Opened:
    from signward.envelopes import sshsig

    inner = sshsig.read_text(text.signature)
    computed = hashlib.new(inner.digest, text.payload).digest()
    claimed = sshsig.claim(inner, computed, OBJECT)
    return _Opened(signature=claimed, profile="git-ssh", slots={OBJECT: text.payload})


def _check_one(count: int) -> None:
    if count != 1:
        raise AmbiguousError(_WHAT, f"{count} signatures in one block", "one",
                             hint="git's verifiers tell of one only")  # fmt: skip


def _der(text: GitText) -> bytes:
    block = _PEM.fullmatch(text.signature)
    if block is None:
        raise MalformedError(_WHAT, "a signature of no known kind, or text around it",
                             "one armoured block: OpenPGP, SSH or CMS", _CLAUSE)  # fmt: skip
    base64 = block[1].replace(b"\n", b"")
    try:
        octets = binascii.a2b_base64(base64, strict_mode=True)
    except binascii.Error as error:
        raise MalformedError(_WHAT, f"damaged Base64: {error}", "Base64", _CLAUSE) from None
    if binascii.b2a_base64(octets, newline=False) != base64:
        raise MalformedError(_WHAT, "Base64 with bits behind its end", "none", "RFC 4648 3.5")
    return octets


def _armoured(envelope: bytes) -> bytes:
    """Return an envelope as git has it: CMS and OpenPGP packets in armour, SSH's as it is."""
    if envelope.startswith((_SSH, _PGP)):
        return envelope
    if envelope[:1] != b"\x30":
        from signward.envelopes.openpgp_packets import armour

        return armour(envelope, "SIGNATURE")
    text = binascii.b2a_base64(envelope, newline=False)
    lines = [text[i : i + _COLUMNS] for i in range(0, len(text), _COLUMNS)]
    frame = b"-----BEGIN SIGNED MESSAGE-----", b"-----END SIGNED MESSAGE-----"
    return b"\n".join((frame[0], *lines, frame[1], b""))


def _draft(payload: bytes, request: Request) -> Draft:
    """Return the draft of a signature of the kind that the signer's key is held in."""
    signer = request.signer
    kind = signer.holder.kind if signer.holder else ""
    if kind == "openpgp":
        from signward.envelopes.openpgp_draft import draft_openpgp

        content = BytesSource(_WHAT, payload)
        return draft_openpgp(
            signer, request.at, lambda hashers: content.feed([(0, content.length)], hashers)
        )
    if kind == "sshsig":
        from signward.envelopes.sshsig_draft import content_digest, draft_sshsig

        digest = content_digest(signer.digest)
        return draft_sshsig(signer, digest, hashlib.new(digest, payload).digest(), NAMESPACE)
    if kind:
        raise NotSignableError(_WHAT, f"a {kind} key", "one of OpenPGP, SSH or X.509")
    from signward.envelopes.cms_detached import draft_detached

    computed = hashlib.new(signer.digest, payload, usedforsecurity=False).digest()
    return draft_detached(computed, signer, request.at)


FORMAT = GitObjectFormat()
