"""Who may start: firmware's rules and shim's, held against lists of our own making."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from conformance.authenticode.pki import Identity, authority, issue

from signward.frozen import replace
from signward.policy.boot.firmware import (
    Firmware,
    Image,
    Keys,
    Ruling,
    Signer,
    Vendor,
    by_firmware,
    by_shim,
    rulings,
)
from signward.policy.boot.microsoft import AUTHORITIES, OLD, dbx_age
from signward.policy.dbx import Dbx, Denied, dbx_of
from signward.trust.x509 import Certificate, load_certificate
from signward.verbs.stores import load_store
from signward.wire import sbat, siglist

OLD_CA = authority("CA 2011", not_after=datetime(2026, 6, 27, tzinfo=UTC))
NEW_CA = authority("CA 2023")
VENDOR_CA = authority("Vendor CA")
OLD_LEAF, NEW_LEAF = issue("Old signer", issuer=OLD_CA), issue("New signer", issuer=NEW_CA)
VENDOR_LEAF = issue("Vendor signer", issuer=VENDOR_CA)

DIGEST = Denied("sha256", hashlib.sha256(b"image").digest())
NOTHING = dbx_of("none", ())


def read(who: Identity) -> Certificate:
    return load_certificate(who.certificate)


def signer(who: Identity) -> Signer:
    return Signer(leaf=read(who), pool=tuple(read(one) for one in who.path))


def listed(*entries: tuple[str, bytes], name: str = "dbx") -> Dbx:
    return dbx_of(name, [siglist.Entry(kind=kind, owner="", data=data) for kind, data in entries])


def db(*who: Identity, name: str = "db", digests: frozenset[Denied] = frozenset()) -> Keys:
    return Keys(name=name, certificates=tuple(map(read, who)), digests=digests)


def firmware(keys: Keys, *denied: Dbx, **more: Any) -> Firmware:
    held = {"mok": db(name="MokList"), "mokx": NOTHING, "level": None, **more}
    return Firmware(db=keys, dbx=denied or (NOTHING,), **held)


def image(name: str = "/EFI/x.efi", *who: Identity, role: str = "other", **more: Any) -> Image:
    more.setdefault("components", sbat.read_components(b"sbat,1,,,,\ngrub,4,,,,\n"))
    return Image(name=name, role=role, digests=(DIGEST,), signers=tuple(map(signer, who)), **more)


def shim(name: str = "/EFI/shim.efi", *who: Identity, denies: Dbx = NOTHING, **more: Any) -> Image:
    vendor = Vendor(allows=db(VENDOR_CA, name=f"built into {name}"), denies=denies)
    more.setdefault("components", sbat.read_components(b"sbat,1,,,,\nshim,4,,,,\n"))
    return image(name, *who, role="shim", vendor=vendor, **more)


def test_a_certificate_in_db_lets_start_what_it_issued_for_whatever_the_date() -> None:
    ruling = by_firmware(image("x", OLD_LEAF), firmware(db(OLD_CA)))
    assert ruling == Ruling(starts=True, by="CA 2011 (db)")


def test_the_signer_s_own_certificate_in_db_is_enough() -> None:
    assert by_firmware(image("x", OLD_LEAF), firmware(db(OLD_LEAF))).starts


def test_an_intermediate_need_not_come_with_the_file() -> None:
    lonely = Image(name="x", role="other", signers=(Signer(leaf=read(OLD_LEAF), pool=()),))
    assert by_firmware(lonely, firmware(db(OLD_CA))).starts


def test_a_namesake_of_a_certificate_in_db_opens_nothing() -> None:
    namesake = authority("CA 2011", kind="rsa3072")
    assert by_firmware(image("x", OLD_LEAF), firmware(db(namesake))).starts is False


def test_a_digest_in_db_lets_start_what_nobody_signed() -> None:
    keys = db(digests=frozenset({DIGEST}))
    assert by_firmware(image("x"), firmware(keys)) == Ruling(starts=True, by="its digest (db)")


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (image("x", OLD_LEAF, NEW_LEAF), "signed under CA 2011 and CA 2023: not in db"),
        (image("x"), "not signed, and its digest is not in db"),
        (image("x", broken=("digest-mismatch",)),
         "its signature does not count (digest-mismatch), and its digest is not in db"),
    ],
)  # fmt: skip
def test_what_nothing_vouches_for_is_refused_with_the_reason(held: Image, why: str) -> None:
    assert by_firmware(held, firmware(db(VENDOR_CA))) == Ruling(starts=False, why=why)


def test_a_digest_in_dbx_outweighs_every_signature() -> None:
    dbx = listed((siglist.SHA256, DIGEST.digest))
    ruling = by_firmware(image("x", NEW_LEAF), firmware(db(NEW_CA), dbx))
    assert ruling == Ruling(starts=False, why="its digest stands in dbx")


def test_one_signature_that_leads_into_dbx_refuses_the_file() -> None:
    """EDK II looks at dbx for every signature, before what db says of any counts."""
    dbx = listed((siglist.X509, OLD_CA.certificate))
    both = image("x", NEW_LEAF, OLD_LEAF)
    assert by_firmware(both, firmware(db(NEW_CA), dbx)).starts is False
    assert by_firmware(image("x", NEW_LEAF), firmware(db(NEW_CA), dbx)).starts


def test_a_tbs_digest_in_dbx_refuses_what_no_trusted_time_is_proven_of() -> None:
    tbs = hashlib.sha256(read(OLD_CA).tbs).digest()
    since = siglist.revoked_tbs(tbs, datetime(2030, 1, 1, tzinfo=UTC))
    for data in (siglist.revoked_tbs(tbs), since):
        dbx = listed((siglist.X509_SHA256, data))
        assert by_firmware(image("x", OLD_LEAF), firmware(db(OLD_CA), dbx)).starts is False


def test_a_file_that_could_not_be_read_is_neither() -> None:
    ruling = by_firmware(replace(image("x"), fault="permission denied"), firmware(db()))
    assert ruling == Ruling(starts=None, why="permission denied")


def test_a_shim_loads_what_its_vendor_signed() -> None:
    second = image("/EFI/grub.efi", VENDOR_LEAF)
    first = shim("/EFI/shim.efi", OLD_LEAF)
    answers = rulings([second, first], firmware(db(OLD_CA)))
    assert answers["/EFI/grub.efi"] == Ruling(
        starts=True, by="Vendor CA (built into /EFI/shim.efi)", through="/EFI/shim.efi"
    )


def test_what_a_shim_would_load_does_not_start_without_it() -> None:
    second, first = image("/EFI/grub.efi", VENDOR_LEAF), shim("/EFI/shim.efi", OLD_LEAF)
    answers = rulings([second, first], firmware(db(NEW_CA)))
    assert answers["/EFI/grub.efi"] == Ruling(
        starts=False, why="/EFI/shim.efi, which would load it, does not start",
        through="/EFI/shim.efi",
    )  # fmt: skip


def test_the_shim_beside_a_file_speaks_first_and_any_other_that_starts_after_it() -> None:
    second = image("/EFI/debian/grub.efi", VENDOR_LEAF)
    beside, fallback = shim("/EFI/debian/shim.efi", NEW_LEAF), shim("/EFI/BOOT/a.efi", OLD_LEAF)
    both = rulings([fallback, second, beside], firmware(db(OLD_CA, NEW_CA)))
    assert both[second.name].through == "/EFI/debian/shim.efi"
    one = rulings([fallback, second, beside], firmware(db(OLD_CA)))
    assert one[second.name].through == "/EFI/BOOT/a.efi"


def test_users_own_keys_count_in_shim_and_not_in_firmware() -> None:
    own = issue("Own signer", issuer=authority("Own CA"))
    held = firmware(db(OLD_CA), mok=db(authority("Own CA"), name="MokList"))
    assert by_firmware(image("x", own), held).starts is False
    assert by_shim(image("x", own), shim(), held).by == "Own CA (MokList)"


@pytest.mark.parametrize("where", ["vendor", "MokListX", "dbx"])
def test_shim_asks_three_lists_what_may_not_start(where: str) -> None:
    denied = listed((siglist.SHA256, DIGEST.digest), name=where)
    held = firmware(db(OLD_CA), *([denied] if where == "dbx" else []),
                    **({"mokx": denied} if where == "MokListX" else {}))  # fmt: skip
    first = shim(denies=denied if where == "vendor" else NOTHING)
    ruling = by_shim(image("x", VENDOR_LEAF), first, held)
    assert (ruling.starts, ruling.why) == (False, f"its digest stands in {where}")


LEVEL = sbat.read_level(b"sbat,1,2024010900\nshim,4\ngrub,5\n")


def test_a_component_below_the_sbat_level_is_refused_by_shim_alone() -> None:
    held = firmware(db(OLD_CA), level=LEVEL)
    ruling = by_shim(image("x", VENDOR_LEAF), shim(), held)
    assert ruling.why == "SBAT level 2024010900 asks for grub 5, it has grub,4"
    assert by_firmware(image("x", OLD_LEAF), held).starts


def test_a_shim_below_the_level_refuses_itself() -> None:
    old = shim("/EFI/shim.efi", OLD_LEAF, components=sbat.read_components(b"shim,3,,,,\n"))
    ruling = by_firmware(old, firmware(db(OLD_CA), level=LEVEL))
    assert ruling.why.startswith("it refuses itself: SBAT level")


@pytest.mark.parametrize(("role", "starts"), [("kernel", True), ("grub", False)])
def test_kernels_need_no_sbat_lines_and_boot_programs_do(role: str, starts: bool) -> None:
    bare = image("x", VENDOR_LEAF, role=role, components=None)
    assert by_shim(bare, shim(), firmware(db(), level=LEVEL)).starts is starts
    assert by_shim(bare, shim(), firmware(db())).starts


def test_windows_boot_manager_is_no_shim_s_business() -> None:
    windows = image("/EFI/bootmgfw.efi", VENDOR_LEAF, role="windows")
    first = shim("/EFI/shim.efi", OLD_LEAF)
    assert rulings([windows, first], firmware(db(OLD_CA)))[windows.name].starts is False


def test_certificates_are_taken_from_a_list_by_their_digest() -> None:
    keys = db(OLD_CA, NEW_CA, digests=frozenset({DIGEST}))
    left = keys.without(frozenset({read(OLD_CA).sha256.hex()}))
    assert left == db(NEW_CA, digests=frozenset({DIGEST}))


def test_what_we_call_microsoft_s_is_what_we_ship() -> None:
    """The five of db stand in our store, whose thumbprints Microsoft prints (test_stores)."""
    shipped = {a.certificate.sha256.hex(): a.name for a in load_store("uefi").anchors()}
    assert shipped == {a.sha256: a.name for a in AUTHORITIES.values() if a.variable == "db"}
    years = {sha256: AUTHORITIES[sha256].generation for sha256 in AUTHORITIES}
    assert {sha256 for sha256, year in years.items() if year == 2011} == OLD


def test_a_dbx_is_as_old_as_the_last_growth_it_has() -> None:
    first = bytes.fromhex("80b4d96931bf0d02fd91a61e19d14f1da452e66db2408ca8604d411f92659f0a")
    later = bytes.fromhex("c805603c4fa038776e42f263c604b49d96840322e1922d5606a9b0bbb5bffe6f")
    assert str(dbx_age(frozenset({first, later})).held) == "2020-07-01"
    assert dbx_age(frozenset()).held is None
    arm = bytes.fromhex("1dc8a3f59b23ccc411d46691fc9b5c35993bca20e7e2299f1a95223b9f112e43")
    age = dbx_age(frozenset({arm}))
    assert age.held == age.newest
