"""Rows 10 to 14: algorithms, usage, curves, and certification paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from conformance.authenticode import tsa
from conformance.authenticode.cases.base import (
    ACCEPTED,
    REJECTED,
    Case,
    case,
    signed_image,
)
from conformance.authenticode.keys import key, signature_algorithm
from conformance.authenticode.pki import (
    EKU_CODE_SIGNING,
    EKU_DOCUMENT_SIGNING,
    EKU_SERVER_AUTH,
    EKU_SUBSCRIBER_ARC,
    EKU_TIME_STAMPING,
    Pki,
    authority,
    default_pki,
    explicit_curve_spki,
    instant,
    issue,
    make_pki,
    name,
    name_constraints,
    stranger_pki,
)
from signward.wire import der

_WEAK = "policy: MD5 never, RSA below 2048 never, SHA-1 only before 2016"
_OLD: dict[str, Any] = {"not_before": instant(2013), "not_after": instant(2018)}


def cases() -> Iterator[Case]:
    """Yield the cases about keys, digests and paths."""
    yield from _strong()
    yield from _weak()
    yield from _sha1_in_time()
    yield from _usage()
    yield from _curves()
    yield from _constraints()
    yield from _chaining()
    yield from _broken_links()
    yield from _mazes()
    yield from _validity()
    yield from _identity()


def _by(pki: Pki, **arguments: Any) -> bytes:
    return signed_image(pki=pki, **arguments)


def _strong() -> Iterator[Case]:
    for kind in (
        "rsa3072",
        "rsa4096",
        "p256",
        "p384",
        "p521",
        "ed25519",
        "ml-dsa-44",
        "ml-dsa-65",
        "ml-dsa-87",
    ):
        pki = make_pki(leaf={"kind": kind})
        yield case(
            f"key-{kind}",
            "design",
            f"a signer with a {kind} key",
            _by(pki),
            ACCEPTED,
            pki=pki,
            clause="RFC 5652, 5754, 8419, 9882",
        )
    pki = make_pki(leaf={"kind": "dsa2048"})
    yield case(
        "key-dsa2048",
        "design",
        "DSA of old files",
        _by(pki),
        ACCEPTED,
        pki=pki,
        clause="RFC 3279 2.2.2",
    )
    for digest in ("sha384", "sha512"):
        data = signed_image(signer={"digest": digest})
        yield case(f"digest-{digest}", "design", f"{digest} throughout", data, ACCEPTED)
    yield case(
        "rsa-pss",
        "design",
        "RSASSA-PSS",
        signed_image(signer={"pss": True}),
        ACCEPTED,
        clause="RFC 4056",
    )
    pki = make_pki(
        intermediate={"kind": "ml-dsa-65"}, leaf={"kind": "ml-dsa-65"}, root={"kind": "ml-dsa-87"}
    )
    yield case(
        "path-all-ml-dsa",
        "design",
        "a path of ML-DSA certificates",
        _by(pki),
        ACCEPTED,
        pki=pki,
        clause="RFC 9881",
    )


def _weak() -> Iterator[Case]:
    for digest in ("md5", "sha1"):
        data = signed_image(signer={"digest": digest})
        yield case(
            f"digest-{digest}",
            10,
            f"{digest} without a proven time",
            data,
            REJECTED,
            "weak-digest",
            clause=_WEAK,
        )
        pki = make_pki(leaf={"digest": digest})
        yield case(
            f"leaf-signed-with-{digest}",
            10,
            f"a leaf whose issuer used {digest}",
            _by(pki),
            REJECTED,
            "weak-digest",
            pki=pki,
            clause=_WEAK,
        )
        pki = make_pki(intermediate={"digest": digest})
        yield case(
            f"intermediate-signed-with-{digest}",
            10,
            f"an authority signed with {digest}",
            _by(pki),
            REJECTED,
            "weak-digest",
            pki=pki,
            clause=_WEAK,
        )
        pki = make_pki(root={"digest": digest})
        yield case(
            f"root-self-signed-with-{digest}",
            10,
            "an anchor's own signature counts not",
            _by(pki),
            ACCEPTED,
            pki=pki,
            clause="RFC 5280 6.1.1 (d)",
        )
    for role in ("leaf", "intermediate"):
        pki = make_pki(**{role: {"kind": "rsa1024"}})
        yield case(
            f"{role}-rsa-1024",
            10,
            f"a {role} key of 1024 bits",
            _by(pki),
            REJECTED,
            "weak-key",
            pki=pki,
            clause=_WEAK,
        )
    pki = make_pki(leaf={"kind": "dsa1024"})
    yield case(
        "leaf-dsa-1024",
        10,
        "a DSA key of 1024 bits",
        _by(pki),
        REJECTED,
        "weak-key",
        pki=pki,
        clause=_WEAK,
    )


def _sha1_in_time() -> Iterator[Case]:
    pki = make_pki(leaf={**_OLD, "digest": "sha1"}, intermediate={"digest": "sha1"})

    def stamped(digest: str, year: int, token_digest: str) -> bytes:
        stamp = tsa.token(
            pki.tsa, at=instant(year, 6), digest=token_digest, imprint_digest=token_digest, ess="v1"
        )
        return _by(pki, signer={"digest": digest, "unsigned": (stamp,)})

    yield case(
        "sha1-timestamped-2015",
        10,
        "SHA-1 under a proven time before the cut-off",
        stamped("sha1", 2015, "sha256"),
        ACCEPTED,
        pki=pki,
        clause=_WEAK,
    )
    yield case(
        "sha1-timestamped-2015-by-sha1",
        10,
        "a SHA-1 token for a time before the cut-off",
        stamped("sha1", 2015, "sha1"),
        ACCEPTED,
        pki=pki,
        clause=_WEAK,
    )
    yield case(
        "sha1-timestamped-2017",
        10,
        "SHA-1 under a proven time after the cut-off",
        stamped("sha1", 2017, "sha256"),
        REJECTED,
        "weak-digest",
        pki=pki,
        clause=_WEAK,
    )
    yield case(
        "md5-timestamped-2015",
        10,
        "MD5, however old",
        stamped("md5", 2015, "sha256"),
        REJECTED,
        "weak-digest",
        pki=pki,
        clause=_WEAK,
    )
    modern = make_pki(leaf={"not_before": instant(2016), "not_after": instant(2019)})
    stamp = tsa.token(modern.tsa, at=instant(2017), digest="sha1", imprint_digest="sha1")
    yield case(
        "sha1-token-of-2017",
        20,
        "a SHA-1 token proves no time after the cut-off",
        _by(modern, signer={"unsigned": (stamp,)}),
        REJECTED,
        "expired",
        pki=modern,
        clause=_WEAK,
    )


def _usage() -> Iterator[Case]:
    clause = "RFC 5280 4.2.1.3, 4.2.1.12"
    ca = ("keyCertSign", "cRLSign")
    rejected: dict[str, tuple[dict[str, Any], str]] = {
        "eku-server-auth": ({"leaf": {"ekus": (EKU_SERVER_AUTH,)}}, "wrong-usage"),
        "eku-time-stamping": ({"leaf": {"ekus": (EKU_TIME_STAMPING,)}}, "wrong-usage"),
        "eku-document-signing": ({"leaf": {"ekus": (EKU_DOCUMENT_SIGNING,)}}, "wrong-usage"),
        "eku-absent": ({"leaf": {"ekus": None}}, "wrong-usage"),
        "key-usage-encipherment": ({"leaf": {"usage": ("keyEncipherment",)}}, "wrong-usage"),
        "key-usage-agreement": ({"leaf": {"usage": ("keyAgreement",)}}, "wrong-usage"),
        "intermediate-eku-server-auth": (
            {"intermediate": {"ekus": (EKU_SERVER_AUTH,)}},
            "wrong-usage",
        ),
        "intermediate-without-key-cert-sign": (
            {"intermediate": {"usage": ("digitalSignature",)}},
            "wrong-usage",
        ),
        "intermediate-not-a-ca": (
            {"intermediate": {"ca": False, "usage": None}},
            "basic-constraints",
        ),
        "intermediate-not-a-ca-signs-certificates": (
            {"intermediate": {"ca": False}},
            "basic-constraints",
        ),
        "intermediate-without-basic-constraints": (
            {"intermediate": {"ca": None}},
            "basic-constraints",
        ),
        "ca-as-leaf": ({"leaf": {"ca": True, "usage": ("digitalSignature", *ca)}}, "wrong-usage"),
    }
    for id_, (changes, cause) in rejected.items():
        pki = make_pki(**changes)
        yield case(
            id_, 11, id_.replace("-", " "), _by(pki), REJECTED, cause, pki=pki, clause=clause
        )
    accepted: dict[str, dict[str, Any]] = {
        "key-usage-absent": {"leaf": {"usage": None}},
        "eku-critical": {"leaf": {"eku_critical": True}},
        "eku-several": {"leaf": {"ekus": (EKU_SERVER_AUTH, EKU_CODE_SIGNING)}},
        "intermediate-eku-code-signing": {"intermediate": {"ekus": (EKU_CODE_SIGNING,)}},
        "basic-constraints-absent-in-leaf": {"leaf": {"ca": None}},
    }
    for id_, changes in accepted.items():
        pki = make_pki(**changes)
        yield case(id_, 11, id_.replace("-", " "), _by(pki), ACCEPTED, pki=pki, clause=clause)


def _curves() -> Iterator[Case]:
    clause = "CVE-2020-0601, RFC 5480 2.1.1"
    leaf_key, ca_key = key("p256", "explicit leaf"), key("p256", "explicit authority")
    leaf = {"subject_key": leaf_key, "spki": explicit_curve_spki(leaf_key)}
    middle = {"subject_key": ca_key, "spki": explicit_curve_spki(ca_key)}
    for id_, pki in (
        ("explicit-curve-leaf", make_pki(leaf=leaf)),
        ("explicit-curve-intermediate", make_pki(intermediate=middle)),
    ):
        yield case(
            id_,
            12,
            id_.replace("-", " "),
            _by(pki),
            REJECTED,
            "explicit-curve",
            pki=pki,
            clause=clause,
        )
    genuine = make_pki(root={"kind": "p256"})
    forged_root = replace(
        genuine.root,
        certificate=authority(
            "Conformance Root",
            subject_key=genuine.root.key,
            serial=genuine.root.serial,
            spki=explicit_curve_spki(genuine.root.key),
        ).certificate,
    )
    crooked = key("p256", "crooked")
    middle_forged = authority("Crooked CA", issuer=replace(forged_root, key=crooked))
    end = issue("Forged Publisher", issuer=middle_forged)
    listed = (end.certificate, middle_forged.certificate, forged_root.certificate)
    data = signed_image(signer={"identity": end}, certificates=listed)
    yield case(
        "curveball-root",
        12,
        "an embedded twin of the anchor with explicit parameters",
        data,
        REJECTED,
        "explicit-curve",
        pki=genuine,
        clause=clause,
    )


def _constraints() -> Iterator[Case]:
    unknown = ("1.3.6.1.4.1.99999.7", True, der.null())
    other, own = name("Nobody", "Elsewhere"), name("", "Conformance")
    elsewhere = name("", "Elsewhere")
    rejected: dict[str, tuple[dict[str, Any], str]] = {
        "critical-unknown-extension-leaf": (
            {"leaf": {"extensions": (unknown,)}},
            "critical-extension",
        ),
        "critical-unknown-extension-intermediate": (
            {"intermediate": {"extensions": (unknown,)}},
            "critical-extension",
        ),
        "name-constraints-not-permitted": (
            {"intermediate": {"constraints": name_constraints(permitted=(elsewhere,))}},
            "name-constraints",
        ),
        "name-constraints-excluded": (
            {"intermediate": {"constraints": name_constraints(excluded=(own,))}},
            "name-constraints",
        ),
        "extension-twice": (
            {
                "leaf": {
                    "extensions": (("2.5.29.37", False, der.sequence(der.oid(EKU_CODE_SIGNING))),)
                }
            },
            "certificate-malformed",
        ),
        "inner-algorithm-differs": (
            {"leaf": {"inner_algorithm": signature_algorithm(key(), "sha512")}},
            "algorithm-inconsistent",
        ),
        "intermediate-of-version-1": ({"intermediate": {"version": 1}}, "basic-constraints"),
    }
    for id_, (changes, cause) in rejected.items():
        pki = make_pki(**changes)
        yield case(
            id_,
            13,
            id_.replace("-", " "),
            _by(pki),
            REJECTED,
            cause,
            pki=pki,
            clause="RFC 5280 4.1.1.2, 4.2, 6.1.4",
        )
    quiet = ("1.3.6.1.4.1.99999.7", False, der.null())
    accepted: dict[str, dict[str, Any]] = {
        "unknown-extension-not-critical": {"leaf": {"extensions": (quiet,)}},
        "name-constraints-permitted": {
            "intermediate": {"constraints": name_constraints(permitted=(own,))}
        },
        "name-constraints-excluded-other": {
            "intermediate": {"constraints": name_constraints(excluded=(other,))}
        },
        "path-length-zero-kept": {"intermediate": {"path_length": 0}},
        "no-key-identifiers": {
            "leaf": {"identifiers": False},
            "intermediate": {"identifiers": False},
        },
    }
    for id_, changes in accepted.items():
        pki = make_pki(**changes)
        yield case(
            id_,
            13,
            id_.replace("-", " "),
            _by(pki),
            ACCEPTED,
            pki=pki,
            clause="RFC 5280 4.2, 6.1.4",
        )
    yield from _path_length()


def _path_length() -> Iterator[Case]:
    pki = make_pki(intermediate={"path_length": 0})
    second = authority("Second CA", issuer=pki.intermediate)
    leaf = issue("Too Far Down", issuer=second)
    listed = [one.certificate for one in leaf.path[:-1]]
    data = signed_image(signer={"identity": leaf}, certificates=listed)
    yield case(
        "path-length-exceeded",
        13,
        "an authority below pathLenConstraint 0",
        data,
        REJECTED,
        "path-length",
        pki=pki,
        clause="RFC 5280 4.2.1.9",
    )
    pki = make_pki(root={"path_length": 0})
    yield case(
        "path-length-in-anchor-exceeded",
        13,
        "the anchor's own pathLenConstraint",
        _by(pki),
        REJECTED,
        "path-length",
        pki=pki,
        clause="RFC 5937",
    )


def _chaining() -> Iterator[Case]:
    pki = default_pki()
    twin_key = key("rsa2048", "name collision root")
    root = authority("Conformance Root", subject_key=twin_key)
    below = issue("Impostor", issuer=authority("Impostor CA", issuer=root))
    collision = signed_image(
        signer={"identity": below}, certificates=[one.certificate for one in below.path]
    )
    yield case(
        "name-collision-with-anchor",
        13,
        "another root with the anchor's name",
        collision,
        REJECTED,
        "untrusted-root",
        pki=pki,
        clause="RFC 5280 6.1",
    )
    foreign = stranger_pki()
    listed = tuple(one.certificate for one in foreign.leaf.path)
    yield case(
        "unknown-root",
        13,
        "a root nobody trusts",
        _by(foreign, certificates=listed),
        REJECTED,
        "untrusted-root",
        pki=pki,
        clause="RFC 5280 6.1",
    )


def _broken_links() -> Iterator[Case]:
    pki = default_pki()
    alone = issue("Self Made")
    data = signed_image(signer={"identity": alone}, certificates=(alone.certificate,))
    yield case(
        "self-signed-leaf",
        13,
        "a leaf that signed itself",
        data,
        REJECTED,
        "untrusted-root",
        clause="RFC 5280 6.1",
    )
    yield case(
        "self-signed-leaf-stage-intact",
        "design",
        "intact is all that is asked",
        data,
        ACCEPTED,
        stage="intact",
    )
    data = signed_image(certificates=(pki.leaf.certificate,))
    yield case(
        "intermediate-missing",
        13,
        "no certificate of the issuer",
        data,
        REJECTED,
        "no-path",
        clause="RFC 5280 6.1",
    )
    broken = make_pki(leaf={"break_signature": True})
    yield case(
        "leaf-signature-wrong",
        13,
        "a leaf its issuer did not sign",
        _by(broken),
        REJECTED,
        "certificate-signature",
        pki=broken,
        clause="RFC 5280 6.1.3 (a)(1)",
    )
    broken = make_pki(intermediate={"break_signature": True})
    yield case(
        "intermediate-signature-wrong",
        13,
        "an authority the root did not sign",
        _by(broken),
        REJECTED,
        "certificate-signature",
        pki=broken,
        clause="RFC 5280 6.1.3 (a)(1)",
    )
    renamed = make_pki(leaf={"issuer_name": name("Another Issuer")})
    listed = renamed.chain
    signer = {
        "identity": replace(
            renamed.leaf, issuer=replace(renamed.intermediate, subject=name("Another Issuer"))
        )
    }
    yield case(
        "issuer-name-differs",
        13,
        "a leaf that names another issuer",
        signed_image(signer=signer, certificates=listed),
        REJECTED,
        "no-path",
        pki=renamed,
        clause="RFC 5280 6.1.3 (a)(4)",
    )


def _mazes() -> Iterator[Case]:
    """Yield certificates that make a path builder walk in circles."""
    clause = "bounded path building"
    first = authority("Loop A")
    second = authority("Loop B", issuer=first)
    back = authority("Loop A", issuer=second)
    leaf = issue("In A Loop", issuer=first)
    listed = tuple(one.certificate for one in (leaf, second, back))
    data = signed_image(signer={"identity": leaf}, certificates=listed)
    yield case(
        "certificate-loop",
        55,
        "two authorities that issued each other",
        data,
        REJECTED,
        "no-path",
        clause=clause,
    )
    crowd: list[bytes] = []
    layer = [authority("Maze Top", subject_key=key("p256", "maze"))]
    for depth in range(8):
        layer = [
            authority(f"Maze {depth}", issuer=above, subject_key=key("p256", "maze"))
            for above in layer[:1] * 10
        ]
        crowd += [one.certificate for one in layer]
    leaf = issue("In A Maze", issuer=layer[0])
    data = signed_image(signer={"identity": leaf}, certificates=(leaf.certificate, *crowd))
    yield case(
        "path-explosion",
        55,
        "ten twins of each of eight authorities",
        data,
        REJECTED,
        "limit-exceeded",
        clause=clause,
    )


def _validity() -> Iterator[Case]:
    clause = "RFC 5280 6.1.3 (a)(2)"
    past = {"not_before": instant(2022), "not_after": instant(2025)}
    coming = {"not_before": instant(2026, 6), "not_after": instant(2035)}
    for id_, changes, cause in (
        ("expired-leaf", {"leaf": past}, "expired"),
        ("expired-intermediate", {"intermediate": past}, "expired"),
        ("leaf-not-yet-valid", {"leaf": coming}, "not-yet-valid"),
    ):
        pki = make_pki(**changes)
        yield case(
            id_,
            14,
            f"{id_.replace('-', ' ')}, no timestamp",
            _by(pki),
            REJECTED,
            cause,
            pki=pki,
            clause=clause,
        )


def _identity() -> Iterator[Case]:
    for number in (1, 2):
        three_days = {
            "not_before": instant(2025, 12, 30),
            "not_after": instant(2026, 1, 2),
            "ekus": (EKU_CODE_SIGNING, f"{EKU_SUBSCRIBER_ARC}.1.2.3"),
        }
        pki = make_pki(leaf=three_days)
        yield case(
            f"subscriber-leaf-{number}",
            "design",
            "a leaf of three days with subscriber EKU",
            _by(pki),
            ACCEPTED,
            pki=pki,
            clause="Artifact Signing subscriber EKU",
        )
