"""Profiles: by whose rules a signature's time, usage and revocation are judged.

The table of docs/architecture.md as data.  A format's signatures are judged by one profile; a
user may name another (an EFI binary checked as Windows would load it, say).
"""

from __future__ import annotations

from signward.frozen import Frozen, replace
from signward.trust.apple import CODE_MARKS, INSTALLER_MARKS, KNOWN_CRITICAL, Mark
from signward.trust.rules import (
    ANY_USAGE,
    CODE_SIGNING,
    DEFAULT_RULES,
    INSTALLER_SIGNING,
    SIGNING,
    PathRules,
    Usage,
)

LIFETIME_SIGNING = "1.3.6.1.4.1.311.10.3.13"
NETSCAPE_TYPE = "2.16.840.1.113730.1.1"
"""What a certificate is for, in Netscape's words: critical in Debian's Secure Boot CA.

Firmware's OpenSSL knows it and asks for no usage.
"""

SUBSCRIBER_ARC = "1.3.6.1.4.1.311.97."
"""EKUs below this arc name a subscriber of Microsoft's signing service, leaf after leaf."""


class Profile(Frozen, frozen=True, kw_only=True):
    """How one ecosystem judges: what the signer must be for, whether dates matter.

    ``kernel``: the signer is also judged by the rules of a Windows generation.  ``keyring``:
    envelopes name a key and bring no certificate; the anchors are the keys.  ``sha1_content``:
    SHA-1 over content warns, under Apple's roots, where elsewhere it rejects; certificates are
    judged as ever.
    ``apple``: what a certificate must be marked for, one of these, where the anchor is Apple's.
    ``namespace`` is what SSH's signatures must be made for, where the caller does not say it.
    ``store`` names the anchors, where that is not the profile's name.  ``keys``: no X.509 at all;
    what the caller's keyrings hold is trusted by the rules of its own kind.  ``lineage``: an
    anchor is the signer's own certificate, or one that handed signing on to it; who issued either
    says nothing, and SHA-1 over content (old JAR signatures) warns.  ``keyless``: certificates of
    some minutes, which a trust root's logs and timestamps vouch for; or a key of a keyring.
    """

    name: str
    usage: Usage
    rules: PathRules = DEFAULT_RULES
    timestamps: bool = True
    revocation: bool = True
    kernel: bool = False
    keyring: bool = False
    sha1_content: bool = False
    apple: tuple[Mark, ...] = ()
    store: str = ""
    keys: bool = False
    lineage: bool = False
    namespace: str = ""
    keyless: bool = False


AUTHENTICODE = Profile(name="authenticode", usage=CODE_SIGNING)
UEFI = Profile(
    name="uefi",
    usage=ANY_USAGE,
    rules=PathRules(judge_validity=False, known_critical=frozenset({NETSCAPE_TYPE})),
    timestamps=False,
    revocation=False,
)
UEFI_VARIABLE = Profile(
    name="uefi-variable",
    usage=ANY_USAGE,
    rules=PathRules(judge_validity=False),
    timestamps=False,
    revocation=False,
)
"""Who may write db and dbx (a KEK), and KEK and PK (the PK): other keys than those of db."""

WINDOWS_KERNEL = Profile(name="windows-kernel", usage=CODE_SIGNING, kernel=True)

LINUX_KERNEL = Profile(
    name="linux-kernel",
    usage=ANY_USAGE,
    rules=PathRules(judge_validity=False),
    timestamps=False,
    revocation=False,
    keyring=True,
)
"""Modules, IMA, fs-verity, IPE: a key of the kernel's keyrings, and no dates."""

JAR = Profile(
    name="jar",
    usage=replace(CODE_SIGNING, eku_required=False),
    store="authenticode",
)
"""As Authenticode, but a certificate that names no usage at all may sign, as for the JDK."""

APPLE = Profile(
    name="apple",
    usage=CODE_SIGNING,
    rules=PathRules(known_critical=KNOWN_CRITICAL),
    apple=CODE_MARKS,
)

APPLE_INSTALLER = Profile(
    name="apple-installer",
    usage=INSTALLER_SIGNING,
    rules=PathRules(known_critical=KNOWN_CRITICAL),
    sha1_content=True,
    apple=INSTALLER_MARKS,
    store="apple",
)
"""Installer packages: Apple's own tools sign them with SHA-1 to this day, and macOS takes that.

Under anchors of one's own SHA-1 counts as everywhere."""

APPLE_TICKET = Profile(
    name="apple",
    usage=ANY_USAGE,
    rules=PathRules(judge_validity=False),
    timestamps=False,
    revocation=False,
)
"""Notarization tickets: Apple's anchors, and no dates; extensions say what the signer is for."""

OPENPGP = Profile(name="openpgp", usage=ANY_USAGE, timestamps=False, revocation=False, keys=True)
"""Judged at the signature's own creation time, by a certificate of the keyring."""

PINNED = Profile(name="pinned", usage=ANY_USAGE, timestamps=False, revocation=False, keys=True)
"""minisign and signify: a key that the caller named, and no dates."""

ANDROID = Profile(
    name="android",
    usage=ANY_USAGE,
    rules=PathRules(judge_validity=False),
    timestamps=False,
    revocation=False,
    lineage=True,
)
"""APK files: the certificate an application was first installed with, or one it handed on to."""
GIT = Profile(name="git", usage=SIGNING)
"""Commits and tags signed by CMS: no store of its own, and any certificate that may sign."""

GIT_SSH = Profile(
    name="git-ssh",
    usage=ANY_USAGE,
    timestamps=False,
    revocation=False,
    keys=True,
    namespace="git",
)
"""As `SSHSIG`, for the namespace that git's signatures have."""

SSHSIG = Profile(name="sshsig", usage=ANY_USAGE, timestamps=False, revocation=False, keys=True)
"""Judged at the validation time: a list of allowed signers, and the namespace asked for."""

DEVICE = Profile(
    name="device",
    usage=replace(CODE_SIGNING, eku_required=False),
    rules=PathRules(judge_validity=False),
    timestamps=False,
)
"""Images of network devices (Arista, Junos): no timestamp has a place in them, and a boot loader
knows no time, so no dates are looked at; revocation is.

There is no store: who issues the signers of a vendor's images issues other certificates too."""

SIGSTORE = Profile(
    name="sigstore", usage=CODE_SIGNING, timestamps=False, revocation=False, keyless=True
)
"""Bundles and attestations: judged at times that the trust root's members vouch for."""

PROFILES = {
    profile.name: profile
    for profile in (
        AUTHENTICODE,
        UEFI,
        UEFI_VARIABLE,
        WINDOWS_KERNEL,
        LINUX_KERNEL,
        JAR,
        APPLE,
        APPLE_INSTALLER,
        OPENPGP,
        PINNED,
        ANDROID,
        SSHSIG,
        GIT,
        GIT_SSH,
        DEVICE,
        SIGSTORE,
    )
}
