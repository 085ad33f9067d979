"""Contexts: everything a run judges with, built once from picklable options.

Time is fixed here, once.  Stores and evidence are loaded when first asked for, so that
an unsigned file costs no trust list.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from copy import copy
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from signward.errors import BadInputError, EvidenceError
from signward.findings import Finding
from signward.frozen import replace
from signward.state import HeldKey, SignedArtifact
from signward.trust.anchors import TrustStore, joined
from signward.trust.judge import Grounds
from signward.trust.pem import CERTIFICATES, CRLS, OCSP_RESPONSES, blocks
from signward.trust.profiles import AUTHENTICODE, PROFILES, Profile
from signward.trust.revocation import Evidence
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.options import Options, read_option
from signward.verbs.stores import load_anchors, load_store

if TYPE_CHECKING:
    from signward.envelopes.krl import Withdrawn
    from signward.policy.blocklist import BlockList
    from signward.policy.rules.index import Index
    from signward.trust.feed import Feed
    from signward.trust.sigstore_root import TrustedRoot
    from signward.verbs.firmware import Firmware
    from signward.verbs.keyrings import Keyring
    from signward.verbs.online import Online
    from signward.verbs.packages.system import System

MAX_PATH = 4096
"""Octets of a path, as Linux has it (``PATH_MAX``)."""


class Context:
    """Anchors, evidence, policy and the instant of one run."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.policy = options.policy
        self.at = options.at or datetime.now(UTC)
        self.catalogs: Any = None
        self._grounds: dict[str, Grounds] = {}
        self._signers: tuple[bytes, ...] = ()
        self._known: tuple[HeldKey, ...] = ()
        self._nearby: dict[tuple[str, ...], Self] = {}

    def knowing(self, *certificates: bytes) -> Self:
        """Return the same context, which has these (DER) for signatures that bring none."""
        other = copy(self)
        other._signers = certificates  # noqa: SLF001 - its own
        return other

    def holding(self, keyring: Keyring) -> Self:
        """Return the same context with these keys in reach, and no others."""
        other = copy(self)
        other.__dict__["keyring"] = keyring
        other._grounds = {}  # noqa: SLF001 - its own
        return other

    def knowing_key(self, key: HeldKey) -> Self:
        """Return the same context with this key in reach; that makes it none of a keyring."""
        other = copy(self)
        other._known = (key,)  # noqa: SLF001 - its own
        return other

    def with_catalogs(self, paths: tuple[str, ...]) -> Self:
        """Return the same context with these catalogs and no others, read once."""
        if paths not in self._nearby:
            other = copy(self)
            other.options, other.catalogs = replace(self.options, catalogs=paths), None
            self._nearby[paths] = other
        return self._nearby[paths]

    def as_of(self, at: datetime) -> Self:
        """Return the same context at another instant, with what was loaded so far."""
        other = copy(self)
        other.at = at
        for name in ("rules", "asked"):  # exceptions among them may have ended
            other.__dict__.pop(name, None)
        grounds = {name: replace(g, at=at) for name, g in self._grounds.items()}
        other._grounds = grounds  # noqa: SLF001 - its own
        return other

    def profile_for(self, artifact: SignedArtifact) -> Profile:
        """Return the profile an artifact is judged by: the one asked for, or its format's."""
        return PROFILES[self.options.profile or artifact.profile]

    def grounds(self, profile: Profile) -> Grounds:
        """Return what signatures of ``profile`` are judged on."""
        if profile.name not in self._grounds:
            self._grounds[profile.name] = Grounds(
                store=self.store(profile),
                tsa_store=self.store(AUTHENTICODE) if profile.kernel else None,
                pool=self._pool,
                evidence=self.evidence,
                at=self.at,
                policy=self.policy.trust,
                notes=self.feed_notes,
                keyring=self.keyring.files if self.keyring and _is_keyed(profile) else {},
                sigstore=self.trusted_root if profile.keyless else None,
                revoked=self.revoked if profile.keys else None,
            )
        return self._grounds[profile.name]

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The caller's certificates (DER), for envelopes that bring none of their own."""
        return tuple(certificate.der for certificate in self._pool)

    def certificates_for(self, profile: Profile) -> tuple[bytes, ...]:
        """Return `certificates`, and those in the anchors' store where they are the keys."""
        if profile.keys:
            return ()
        if profile.keyless:
            chains = (one.chain for one in self.trusted_root.timestamping)
            return (*self.certificates, *(c.der for chain in chains for c in chain))
        if not profile.keyring:
            return self.certificates
        anchors = self.grounds(profile).store.anchors()
        keys = (anchor.certificate.der for anchor in anchors)
        return (*self.certificates, *self._signers, *keys)

    def keys_for(self, profile: Profile) -> tuple[HeldKey, ...]:
        """Return the keys in reach where the profile is about such: first those of keyrings."""
        if not _is_keyed(profile):
            return ()
        return (*self.keyring.keys, *self._known) if self.keyring else self._known

    @cached_property
    def keyring(self) -> Keyring | None:
        """What the caller's keyrings hold; None without any."""
        if not self.options.keyrings:
            return None
        from signward.verbs.keyrings import load_keyrings  # for few runs only

        return load_keyrings(self.options.keyrings)

    @cached_property
    def trusted_root(self) -> TrustedRoot:
        """The Sigstore that is trusted: the one given, else the public one unless others are."""
        from signward.verbs.sigstore import load_trusted_root  # for few runs only

        return load_trusted_root(self.options)

    @cached_property
    def system(self) -> System | None:
        """The system whose packages may vouch for files; None where none was asked for."""
        if self.options.packages is None:
            return None
        from signward.verbs.packages.system import load_system  # for few runs only

        return load_system(self.options.packages, self)

    @cached_property
    def revoked(self) -> Withdrawn | None:
        """The SSH keys and certificates that the caller's lists withdraw; None without any."""
        if not self.options.revoked:
            return None
        from signward.verbs.keyrings import load_revoked  # for few runs only

        return load_revoked(self.options.revoked)

    @cached_property
    def evidence(self) -> Evidence:
        """The caller's CRLs, OCSP answers and feeds."""
        return Evidence(
            crls=_read_all(self.options.crls, CRLS),
            ocsp=_read_all(self.options.ocsp, OCSP_RESPONSES),
            feeds=self.feeds,
        )

    @cached_property
    def followed(self) -> Options:
        """The options with every feed a file: one that a URL names was asked for by then."""
        if not self.options.feeds:
            return self.options
        from signward.verbs.feeds import followed  # for few runs only

        return followed(self.options)

    @cached_property
    def feeds(self) -> tuple[Feed, ...]:
        """The caller's revocation feeds, signatures checked."""
        if not self.followed.feeds:
            return ()
        from signward.verbs.feeds import load_feeds

        return load_feeds(self.followed)

    @cached_property
    def feed_notes(self) -> tuple[Finding, ...]:
        """What every judged signature says of the feeds."""
        return self.followed.feed_notes or ()

    @cached_property
    def block_lists(self) -> tuple[BlockList, ...]:
        """The caller's block lists."""
        if not self.options.block_lists:
            return ()
        return read_block_lists(
            (path.rpartition("/")[2], read_option(path)) for path in self.options.block_lists
        )

    @cached_property
    def firmware(self) -> Firmware | None:
        """What firmware refuses by the caller's lists; None where none were given."""
        from signward.verbs.firmware import asks_firmware, load_firmware, read_given

        return load_firmware(read_given(self.options)) if asks_firmware(self.options) else None

    @cached_property
    def rules(self) -> Index | None:
        """The caller's rules in force at the context's instant; None where none were given."""
        if self.options.rules is None:
            return None
        from signward.policy.rules.force import in_force  # for few runs only
        from signward.policy.rules.index import Index

        return Index(in_force(self.options.rules, self.at))

    @cached_property
    def asked(self) -> frozenset[str]:
        """What rules or the caller ask of a file, in the words of ``Index.asked``."""
        return self.options.asked | (self.rules.asked if self.rules else frozenset())

    @cached_property
    def online(self) -> Online | None:
        """What fetches missing evidence; None in a run that stays offline."""
        if not self.options.online:
            return None
        from signward.verbs.online import make_online

        options = self.options
        return make_online(private=options.online_private, nonces=options.online_nonce)

    def place(self, name: str) -> str:
        """Return where a file of this name really lies; empty for what is no file here."""
        return real_place(name)

    def consulted(self, catalogs: tuple[str, ...]) -> None:
        """Take note that these catalogs list the artifact being judged."""

    def store(self, profile: Profile) -> TrustStore:
        """Return the anchors of ``profile``: those asked for, or its own store."""
        options = self.options
        if profile.keys:
            return joined("keyrings", [])
        if profile.keyless:
            return joined(self.trusted_root.name, [])
        names = options.stores or (() if options.anchors else (profile.store or profile.name,))
        stores = [load_store(name) for name in names]
        stores += [load_anchors(path) for path in options.anchors]
        return joined("+".join(names) or "anchors", stores)

    @cached_property
    def _pool(self) -> tuple[Certificate, ...]:
        ders = _read_all(self.options.certificates, CERTIFICATES)
        try:
            return tuple(load_certificate(der) for der in ders)
        except BadInputError as error:
            raise EvidenceError(f"--certificate: {error}") from None


def _is_keyed(profile: Profile) -> bool:
    """Say whether signatures of a profile may be by keys that no certificate holds."""
    return profile.keys or profile.keyless


def real_place(name: str) -> str:
    """Return where a file really lies; of a member (``outer.zip!/a.dll``) where its container does.

    Empty for what is no file here.
    """
    if os.path.lexists(name):
        return os.path.realpath(name)
    at = name.find("!/")
    while 0 <= at < MAX_PATH:
        if os.path.isfile(name[:at]):  # noqa: PTH113 - paths stay strings
            return os.path.realpath(name[:at]) + name[at:]
        at = name.find("!/", at + 1)
    return ""


def read_block_lists(files: Iterable[tuple[str, bytes]]) -> tuple[BlockList, ...]:
    """Return the block lists in named files.  Raises ``EvidenceError``."""
    from signward.policy.blocklist import read_block_list  # expat, for few runs only

    return tuple(read_block_list(name, data) for name, data in files)


def _read_all(paths: tuple[str, ...], label: str) -> list[bytes]:
    """Return the DER of every block with ``label`` in the files the caller named."""
    return [block for path in paths for block in blocks(path, read_option(path), label)]
