"""Policies and subjects to try them on, drawn from small pools so that they often meet.

Publishers have certificates of our own making (an RSA CA and one leaf each), so that a compiler
that needs a whole certificate finds one in ``[keys]``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import strategies as st

from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    Layer,
    Mode,
    OriginMatch,
    ProductMatch,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
)
from signward.policy.rules.reading import guid
from signward.policy.rules.subject import Origin, Signer, Subject, Version
from signward.state import Outcome, Status

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
PRODUCTS = ("Agent", "Tool & Co", "Löwe <1>")
FILE_NAMES = ("agent.exe", "tool.dll", "a b.sys")
VERSIONS: tuple[Version, ...] = ((1, 0, 0, 0), (2, 5, 0, 1), (10, 0, 19041, 1))
PLACES = ("/opt/vendor/bin/tool", "/usr/lib/vendor/lib.so", "/srv/a b/c'd.sh")
WINDOWS_PLACES = (r"C:\Program Files\Vendor\agent.exe", r"D:\Tools & Co\run.ps1")
IMAGES = ("registry.example/team/app", "registry.example/other/app", "docker.io/library/x")
TEAMS = ("EXAMPLE001", "OTHERTEAM2")


@dataclass(frozen=True)
class Publishing:
    """Somebody who signs: the name of the key, the CA's and the leaf's certificate."""

    name: str
    authority: x509.Certificate
    leaf: x509.Certificate

    @property
    def signer(self) -> Signer:
        """What a subject signed by it knows of its signer."""
        path = (self.leaf, self.authority)
        spki = self.leaf.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        subject = {
            "common_name": _first(self.leaf, NameOID.COMMON_NAME),
            "organization": _first(self.leaf, NameOID.ORGANIZATION_NAME),
            "locality": _first(self.leaf, NameOID.LOCALITY_NAME),
            "country": _first(self.leaf, NameOID.COUNTRY_NAME),
        }
        organization, name = subject["organization"], subject["common_name"]
        return Signer(
            identity=f"subject:{organization}/{name}",
            subject=subject,
            certificates=tuple(c.fingerprint(hashes.SHA256()).hex() for c in path),
            names=tuple(_first(c, NameOID.COMMON_NAME) for c in path),
            tbs=tuple(tbs_of(c) for c in path),
            ekus=("1.3.6.1.5.5.7.3.3",),
            key=hashlib.sha256(spki).hexdigest(),
            key_kind="ec-256",
            digest="sha256",
            team_id=TEAMS[0] if self.name == "first" else TEAMS[1],
            begins=BEGINS,
            revocation=Status.GOOD,
        )


def _first(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    return str(certificate.subject.get_attributes_for_oid(oid)[0].value)


def tbs_of(certificate: x509.Certificate) -> str:
    """Return the certificate's TBS digest as rules write it."""
    algorithm = certificate.signature_hash_algorithm
    assert algorithm is not None
    value = hashlib.new(algorithm.name, certificate.tbs_certificate_bytes)
    return f"{algorithm.name}:{value.hexdigest()}"


@cache
def publishing(name: str, organization: str) -> Publishing:
    """Return a publisher under a CA of its own; the same for the same arguments."""
    authority_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name(f"{organization} CA", organization)
    authority = _certificate(authority_name, authority_name, authority_key, authority_key, ca=True)
    leaf = _certificate(_name(organization, organization), authority_name, leaf_key,
                        authority_key, ca=False)  # fmt: skip
    return Publishing(name, authority, leaf)


def _name(common_name: str, organization: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.COUNTRY_NAME, "AT"),
        x509.NameAttribute(NameOID.LOCALITY_NAME, "Wien"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])  # fmt: skip


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINS)
        .not_valid_after(BEGINS + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(by, hashes.SHA256())


def publishers() -> tuple[Publishing, ...]:
    """Return the two publishers of the pools; the second's name needs escaping everywhere."""
    return publishing("first", "Example Ltd"), publishing("second", 'Löwe, "O\'Neil" & <Söhne>')


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def digest(of: str, number: int) -> str:
    """Return the ``number``th digest of a pool, as rules write it."""
    value = hashlib.sha256(f"{of} {number}".encode()).hexdigest()
    return f"{of}:sha256:{value[:40] if of == 'cdhash' else value}"


def rule_set(
    *rules: Rule, mode: Mode = Mode.ENFORCE, requirements: Requirements | None = None
) -> RuleSet:
    """Return a rule set in force of these rules; its keys are both publishers' certificates."""
    keys = {
        f"{one.name}-{what}": material(f"{one.name}-{what}", pem(certificate))
        for one in publishers()
        for what, certificate in (("ca", one.authority), ("leaf", one.leaf))
    }
    layer = Layer(
        name="generated", version=1, id=guid("generated"), rules=frozenset(r.id for r in rules)
    )
    return RuleSet(
        name="generated",
        version=1,
        id=guid("generated"),
        mode=mode,
        requirements=requirements or Requirements(),
        rules=rules,
        waivers=(),
        keys=keys,
        targets={},
        layers=(layer,),
    )


def _publisher_matches() -> st.SearchStrategy[PublisherMatch]:
    return st.sampled_from(list(_every_publisher_match()))


def _every_publisher_match() -> Iterator[PublisherMatch]:
    for one in publishers():
        signer = one.signer
        yield PublisherMatch(organization=signer.subject["organization"])
        yield PublisherMatch(common_name=signer.subject["common_name"], tbs=signer.tbs[1])
        yield PublisherMatch(key=f"{one.name}-ca")
        yield PublisherMatch(certificate=f"sha256:{signer.certificates[0]}")
        yield PublisherMatch(team_id=signer.team_id)
        yield PublisherMatch(
            organization=signer.subject["organization"], country="AT", locality="Wien"
        )


def _conditions() -> st.SearchStrategy[dict[str, object]]:
    digests = st.tuples(
        st.sampled_from(("file", "authenticode", "cdhash", "oci")), st.integers(0, 2)
    ).map(lambda pair: (digest(*pair),))
    product = st.builds(
        ProductMatch,
        original_name=st.sampled_from(FILE_NAMES),
        minimum_version=st.sampled_from(("", "2.0.0.0")),
    )
    publisher = _publisher_matches()
    paths = st.sampled_from((*PLACES, "/opt/vendor/**", "/usr/lib/*/lib.so", *WINDOWS_PLACES))
    origins = st.sampled_from((*IMAGES, "registry.example/team/*")).map(
        lambda name: OriginMatch(kind="oci", name=name)
    )
    return st.one_of(
        digests.map(lambda d: {"digest": d}),
        publisher.map(lambda p: {"publisher": p}),
        st.tuples(publisher, product).map(lambda t: {"publisher": t[0], "product": t[1]}),
        paths.map(lambda p: {"path": (p,)}),
        st.tuples(publisher, origins).map(
            lambda t: {"publisher": t[0], "origin": t[1], "kind": ("image",)}
        ),
    )


_KINDS = ((), ("executable",), ("library",), ("driver",), ("script",), ("image",),
          ("executable", "library"))  # fmt: skip


def rules() -> st.SearchStrategy[tuple[Rule, ...]]:
    """Return up to six rules with names of their own."""
    one = st.tuples(_conditions(), st.sampled_from(tuple(Action)), st.sampled_from(_KINDS))
    return st.lists(one, max_size=6).map(
        lambda drawn: tuple(
            Rule(**{"kind": kind, **conditions, "id": f"rule-{number}", "action": action})  # type: ignore[arg-type]
            for number, (conditions, action, kind) in enumerate(drawn)
        )
    )


def rule_sets() -> st.SearchStrategy[RuleSet]:
    """Return rule sets in force."""
    return rules().map(lambda drawn: rule_set(*drawn))


_CLASSES = {"executable": "pe", "library": "pe", "driver": "pe", "script": "powershell",
            "image": "oci-image"}  # fmt: skip


def _digest_sets() -> st.SearchStrategy[frozenset[str]]:
    return st.lists(st.integers(0, 3), min_size=4, max_size=4).map(
        lambda numbers: frozenset(
            digest(of, n)
            for of, n in zip(("file", "authenticode", "cdhash", "oci"), numbers, strict=True)
        )
    )


def subjects(classes: frozenset[str] = frozenset()) -> st.SearchStrategy[Subject]:
    """Return subjects of which everything is known; of these classes, where we have some."""
    among = tuple(c for c in _CLASSES if c in classes) or tuple(_CLASSES)
    return st.builds(
        _subject,
        path=st.sampled_from((*PLACES, *WINDOWS_PLACES, "/opt/vendor/deep/er", "/home/me/x")),
        file_class=st.sampled_from(among),
        digests=_digest_sets(),
        signers=st.sampled_from([(), *((p.signer,) for p in publishers())]),
        name=st.sampled_from(("", *FILE_NAMES)),
        product=st.sampled_from(("", *PRODUCTS)),
        version=st.sampled_from((None, *VERSIONS)),
        image=st.sampled_from(IMAGES),
    )


def _subject(
    path: str,
    file_class: str,
    digests: frozenset[str],
    signers: tuple[Signer, ...],
    name: str,
    product: str,
    version: Version | None,
    image: str,
) -> Subject:
    is_image = file_class == "image"
    return Subject(
        path=path,
        kind=_CLASSES[file_class],
        file_class=file_class,
        digests=frozenset(d for d in digests if d.startswith("oci:") == is_image),
        signers=signers,
        original_name=name,
        product=product,
        version=version,
        origins=(Origin(kind="oci", name=image),) if is_image else (),
        outcome=Outcome.ACCEPTED if signers else Outcome.REJECTED,
        cause="" if signers else "unsigned",
    )
