"""Whether an EFI image starts: as firmware decides it, and as shim does for what it loads.

Firmware (UEFI 2.10 32.5.3.3, in the order of EDK II's DxeImageVerificationLib): an image is refused
if its digest stands in dbx, or any of its signatures leads to a certificate there; else it starts
if one of its signatures leads to a certificate in db, or its digest stands in db.  Dates of
certificates are not looked at.  Shim asks the same of dbx, MokListX and its vendor's own list, and
lets start what db, MokList or its vendor's certificate vouch for, of a generation that the SBAT
level still allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from signward.frozen import Frozen, replace
from signward.policy.dbx import Dbx, Denied, ancestry, image_findings, signer_findings
from signward.trust.x509 import Certificate
from signward.wire import sbat, siglist


class Keys(Frozen, frozen=True, kw_only=True):
    """A list of what may start: certificates, and digests of images.  ``name`` as users know it."""

    name: str
    certificates: tuple[Certificate, ...] = ()
    digests: frozenset[Denied] = frozenset()

    def without(self, sha256: frozenset[str]) -> Keys:
        """Return the list without the certificates of these SHA-256, in hexadecimal."""
        kept = tuple(c for c in self.certificates if c.sha256.hex() not in sha256)
        return replace(self, certificates=kept)


class Vendor(Frozen, frozen=True, kw_only=True):
    """What a shim carries of its vendor's: what it lets start, and what it refuses."""

    allows: Keys
    denies: Dbx


class Signer(Frozen, frozen=True, kw_only=True):
    """Who made an intact signature, and the certificates that came with it."""

    leaf: Certificate
    pool: tuple[Certificate, ...]


class Image(Frozen, frozen=True, kw_only=True):
    """What is known of one EFI file; ``fault`` says why nothing is.

    ``broken`` says what is wrong with signatures that count for nothing, ``components`` are the
    lines of ``.sbat`` (None: there is none), ``vendor`` is there for a shim.
    """

    name: str
    role: str
    packaged: bool = False
    digests: tuple[Denied, ...] = ()
    signers: tuple[Signer, ...] = ()
    broken: tuple[str, ...] = ()
    components: tuple[sbat.Component, ...] | None = None
    vendor: Vendor | None = None
    fault: str = ""


class Firmware(Frozen, frozen=True, kw_only=True):
    """What decides: db and dbx, shim's own lists, and the SBAT level (None: none is set).

    ``unread`` names those of the lists that could not be read whole, ``SbatLevel`` among them.
    """

    db: Keys
    dbx: tuple[Dbx, ...]
    mok: Keys
    mokx: Dbx
    level: sbat.Level | None = None
    unread: frozenset[str] = frozenset()


class Ruling(Frozen, frozen=True, kw_only=True):
    """Whether an image starts (None: cannot tell), by which key or entry, or why not.

    ``through`` names the shim that loads it; empty where firmware itself does.
    """

    starts: bool | None
    by: str = ""
    why: str = ""
    through: str = ""


OPTION_ROM = "option-rom"
"""The role of a driver in a device's ROM."""

_BY_FIRMWARE_ALONE = frozenset({"windows", OPTION_ROM})
"""Roles that no shim loads, whatever it says of them."""

_ALLOWING = frozenset({"db", "MokList"})
_DENYING = frozenset({"dbx"})
_SHIM_DENYING = frozenset({"MokListX", "SbatLevel"})
"""Names of lists, by what more of them would do: let start, refuse, refuse what shim loads."""


def keys_of(name: str, entries: Iterable[siglist.Entry], read: Iterable[Certificate]) -> Keys:
    """Return what a list lets start; ``read`` are the certificates in it."""
    sizes = {siglist.SHA256: "sha256"}
    digests = frozenset(Denied(sizes[e.kind], e.data) for e in entries if e.kind in sizes)
    return Keys(name=name, certificates=tuple(read), digests=digests)


def rulings(images: Iterable[Image], firmware: Firmware) -> dict[str, Ruling]:
    """Return for every image, by name, whether it starts: by itself, or through a shim."""
    every = tuple(images)
    decided = _decided(every, firmware)
    return {image.name: _sure(image, decided[image.name], firmware.unread) for image in every}


def _sure(image: Image, ruling: Ruling, unread: frozenset[str]) -> Ruling:
    """Return a ruling, or that nobody can tell where a list that was not read could undo it."""
    undoing = _DENYING if ruling.starts else _ALLOWING
    if ruling.starts and (ruling.through or image.vendor):
        undoing |= _SHIM_DENYING
    missing = sorted(unread & undoing)
    if ruling.starts is None or not missing:
        return ruling
    return Ruling(starts=None, why=f"{' and '.join(missing)} could not be read")


def _decided(every: tuple[Image, ...], firmware: Firmware) -> dict[str, Ruling]:
    first = {image.name: by_firmware(image, firmware) for image in every}
    shims = [image for image in every if image.vendor and not image.fault]
    return {
        image.name: first[image.name]
        if first[image.name].starts is not False or image.vendor or image.role in _BY_FIRMWARE_ALONE
        else _through(image, shims, first, firmware)
        for image in every
    }


def _through(
    image: Image, shims: list[Image], first: dict[str, Ruling], firmware: Firmware
) -> Ruling:
    """Return what the shims say of an image that firmware refuses: the first that lets it in.

    One that does not start itself lets nothing in.
    """
    refused = first[image.name]
    for shim in sorted(shims, key=lambda shim: _distance(image, shim, first)):
        ruling = by_shim(image, shim, firmware)
        if ruling.starts and first[shim.name].starts:
            return ruling
        if ruling.starts:
            return Ruling(starts=False, why=f"{shim.name}, which would load it, does not start",
                          through=shim.name)  # fmt: skip
        refused = ruling
    return refused


def _distance(image: Image, shim: Image, first: dict[str, Ruling]) -> tuple[bool, ...]:
    """Order shims: such as start, installed ones, the one beside the image, named ones.

    EFI/BOOT holds what firmware starts where no boot entry leads elsewhere.
    """
    folder = shim.name.rpartition("/")[0]
    beside = folder == image.name.rpartition("/")[0]
    fallback = folder.upper().endswith("/BOOT")
    return (not first[shim.name].starts, shim.packaged, not beside, fallback)


def by_firmware(image: Image, firmware: Firmware) -> Ruling:
    """Return what firmware says of an image, and a shim of itself by its SBAT lines."""
    ruling = _ruled(image, firmware.dbx, (firmware.db,))
    if ruling.starts and image.vendor and (why := _too_low(image, firmware.level)):
        return Ruling(starts=False, why=f"it refuses itself: {why}")
    return ruling


def by_shim(image: Image, shim: Image, firmware: Firmware) -> Ruling:
    """Return what a shim says of an image that it is to load."""
    vendor = shim.vendor
    assert vendor is not None  # noqa: S101 - it is a shim
    denied = (*firmware.dbx, firmware.mokx, vendor.denies)
    allowed = (vendor.allows, firmware.db, firmware.mok)
    ruling = _ruled(image, denied, allowed)
    if ruling.starts and (why := _too_low(image, firmware.level)):
        ruling = Ruling(starts=False, why=why)
    return replace(ruling, through=shim.name)


def _ruled(image: Image, denied: Iterable[Dbx], allowed: Iterable[Keys]) -> Ruling:
    if image.fault:
        return Ruling(starts=None, why=image.fault)
    lists = tuple(allowed)
    pool = [certificate for keys in lists for certificate in keys.certificates]
    if why := next(_denials(image, denied, pool), ""):
        return Ruling(starts=False, why=why)
    for keys in lists:
        for signer in image.signers:
            held = set(keys.certificates)
            for certificate in ancestry(signer.leaf, (*signer.pool, *pool)):
                if certificate in held:
                    by = certificate.common_name or certificate.subject_text
                    return Ruling(starts=True, by=f"{by} ({keys.name})")
        if keys.digests & set(image.digests):
            return Ruling(starts=True, by=f"its digest ({keys.name})")
    return Ruling(starts=False, why=_unknown(image, lists))


def _denials(image: Image, denied: Iterable[Dbx], pool: Iterable[Certificate]) -> Iterator[str]:
    """Yield why lists refuse an image, signed by whomever."""
    for dbx in denied:
        for _ in image_findings(dbx, image.digests):
            yield f"its digest stands in {dbx.name}"
        for signer in image.signers:
            for finding in signer_findings(dbx, signer.leaf, (*signer.pool, *pool), None):
                yield f"{dbx.name} stops its signer: {finding.found}"


def _unknown(image: Image, lists: tuple[Keys, ...]) -> str:
    where = " or ".join(keys.name for keys in lists if keys.certificates or keys.digests) or "db"
    told = signed_under(image)
    return (
        f"{told}: not in {where}" if image.signers else f"{told}, and its digest is not in {where}"
    )


def signed_under(image: Image) -> str:
    """Return who issued its signers' certificates, or why nobody counts, in words."""
    if image.fault:
        return image.fault
    if image.signers:
        by = dict.fromkeys(issuer_name(signer.leaf) for signer in image.signers)
        return f"signed under {' and '.join(by)}"
    return f"its signature does not count ({image.broken[0]})" if image.broken else "not signed"


def issuer_name(certificate: Certificate) -> str:
    """Return how a certificate calls its issuer: the common name, else the whole name."""
    text = certificate.issuer_text
    names = [part[3:] for part in text.split(",") if part.startswith("CN=")]
    return names[0] if names else text


def _too_low(image: Image, level: sbat.Level | None) -> str:
    """Return which component is of too low a generation; empty if none is.

    What has no ``.sbat`` shim does not load itself; kernels it judges for GRUB may have none.
    """
    if level is None:
        return ""
    if image.components is None:
        kernel = image.role in ("kernel", "shim")
        return "" if kernel else f"it has no .sbat, and SBAT level {level.date} is set"
    for component, least in sbat.below(image.components, level):
        return f"SBAT level {level.date} asks for {component.name} {least}, it has {component}"
    return ""
