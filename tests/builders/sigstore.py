"""A Sigstore of our own: authority, logs, timestamps, trust root; bundles with any rule broken.

Everything is signed with test keys (`conformance.authenticode`), as the public instances do it:
certificates of ten minutes with a timestamp of a certificate log, entries of both generations of
the log, and the trust root as JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from conformance.authenticode import pki, tsa
from conformance.authenticode.keys import Key, key
from conformance.authenticode.pki import Identity

from signward.wire import der

AT = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
"""When the usual signature is made; its certificate begins a minute before."""

WORKFLOW = "https://github.com/example/project/.github/workflows/release.yml@refs/tags/v1"
PROVIDER = "https://token.actions.githubusercontent.com"
STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
PUBLISH = "https://docs.pypi.org/attestations/publish/v1"
V3 = "application/vnd.dev.sigstore.bundle.v0.3+json"
_SCT = "1.3.6.1.4.1.11129.2.4.2"


def b64(data: bytes) -> str:
    """Return Base64 with padding."""
    return base64.b64encode(data).decode()


def canonical(value: Any) -> bytes:
    """Return JSON in canonical form (RFC 8785), for values of ASCII texts and small integers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def statement(name: str, content: bytes, predicate: str = PUBLISH) -> bytes:
    """Return a statement about one file."""
    subject = {"name": name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
    return canonical(
        {"_type": STATEMENT, "subject": [subject], "predicateType": predicate, "predicate": None}
    )


def pae(payload: bytes, kind: str = PAYLOAD) -> bytes:
    """Return what DSSE signs."""
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)


@dataclass(frozen=True, kw_only=True)
class Sigstore:
    """One instance; ``name`` tells the keys of two apart."""

    name: str = "ours"
    begin: datetime = datetime(2025, 1, 1, tzinfo=UTC)
    end: datetime | None = None
    root: Identity = field(init=False)
    intermediate: Identity = field(init=False)
    stamper: Identity = field(init=False)

    def __post_init__(self) -> None:
        """Issue the authority's certificates and the timestamp authority's."""
        usual: dict[str, Any] = {"not_before": datetime(2024, 1, 1, tzinfo=UTC),
                                 "not_after": datetime(2034, 1, 1, tzinfo=UTC)}  # fmt: skip
        root = pki.authority(f"{self.name} root", kind="p384", digest="sha384", **usual)
        middle = pki.authority(
            f"{self.name} intermediate", root, kind="p384", digest="sha384",
            ekus=(pki.EKU_CODE_SIGNING,), **usual,
        )  # fmt: skip
        stamper = pki.timestamper(
            f"{self.name} stamps", root, kind="p384", digest="sha384", **usual
        )
        for name, value in (("root", root), ("intermediate", middle), ("stamper", stamper)):
            object.__setattr__(self, name, value)

    @property
    def log(self) -> Key:
        """The key of the first generation's log."""
        return key("p256", f"{self.name} log")

    @property
    def log_2(self) -> Key:
        """The key of the second generation's log."""
        return key("ed25519", f"{self.name} log 2")

    @property
    def certificate_log(self) -> Key:
        """The key of the log of certificates."""
        return key("p256", f"{self.name} certificate log")

    @property
    def log_url(self) -> str:
        """Where the logs say they are."""
        return f"https://log.{self.name}.example"

    def log_id(self, generation: int = 1) -> bytes:
        """Return what entries name a log by."""
        if generation == 1:
            return hashlib.sha256(self.log.spki).digest()
        raw = self.log_2.spki[-32:]
        return hashlib.sha256(f"log.{self.name}.example\n".encode() + b"\1" + raw).digest()

    def leaf(
        self,
        *,
        at: datetime = AT,
        names: Sequence[bytes] | None = None,
        provider: str | None = PROVIDER,
        old_provider: str | None = "",
        sct_key: Key | None = None,
        sct: bool = True,
        kind: str = "p256",
        **changes: Any,
    ) -> Identity:
        """Issue a certificate for ten minutes; ``names`` are GeneralNames (DER).

        ``old_provider`` is what the former extension says; empty: as the other one, if there.
        """
        listed = (workflow(),) if names is None else names
        extensions = [("2.5.29.17", True, der.sequence(*listed))]
        if provider is not None:
            extensions.append(("1.3.6.1.4.1.57264.1.8", False, der.utf8(provider)))
        old_provider = provider if old_provider == "" else old_provider
        if old_provider is not None:
            extensions.append(("1.3.6.1.4.1.57264.1.1", False, old_provider.encode()))
        arguments = {
            "issuer": self.intermediate, "subject_key": key(kind, f"{self.name} signer"),
            "not_before": at - timedelta(minutes=1), "not_after": at + timedelta(minutes=9),
            "digest": "sha384", "ca": None, "subject": der.sequence(), "serial": 4711, **changes,
        }  # fmt: skip
        bare = pki.issue("signer", **arguments, extensions=extensions)
        if not sct:
            return bare
        stamp = self._sct(bare, at, sct_key or self.certificate_log)
        return pki.issue("signer", **arguments, extensions=[*extensions, (_SCT, False, stamp)])

    def _sct(self, bare: Identity, at: datetime, by: Key) -> bytes:
        """Return the extension's value: one timestamp of the certificate without it."""
        tbs = der.parse(bare.certificate, "certificate").children()[0].raw
        when = int(at.timestamp() * 1000).to_bytes(8, "big")
        issuer = hashlib.sha256(self.intermediate.key.spki).digest()
        signed = b"\0\0" + when + b"\0\1" + issuer + len(tbs).to_bytes(3, "big") + tbs + b"\0\0"
        value = by.sign(signed)
        log_id = hashlib.sha256(self.certificate_log.spki).digest()
        item = b"\0" + log_id + when + b"\0\0" + b"\4\3" + len(value).to_bytes(2, "big") + value
        listed = len(item).to_bytes(2, "big") + item
        return der.octet_string(len(listed).to_bytes(2, "big") + listed)

    def entry(
        self,
        body: bytes,
        kind: tuple[str, str],
        *,
        at: datetime | None = AT,
        generation: int = 1,
        promise: bool = True,
        proof: bool = True,
        log: Key | None = None,
    ) -> dict[str, Any]:
        """Return a log entry as bundles have it; ``log`` signs in the log's place."""
        signer = log or (self.log if generation == 1 else self.log_2)
        made: dict[str, Any] = {
            "logIndex": "41", "logId": {"keyId": b64(self.log_id(generation))},
            "kindVersion": {"kind": kind[0], "version": kind[1]},
            "canonicalizedBody": b64(body),
        }  # fmt: skip
        if at is not None:
            made["integratedTime"] = str(int(at.timestamp()))
        if promise and at is not None:
            promised = canonical({
                "body": b64(body), "integratedTime": int(at.timestamp()),
                "logID": self.log_id(generation).hex(), "logIndex": 41,
            })  # fmt: skip
            made["inclusionPromise"] = {"signedEntryTimestamp": b64(signer.sign(promised))}
        if proof:
            made["inclusionProof"] = self._proof(body, signer, generation)
        return made

    def _proof(self, body: bytes, signer: Key, generation: int) -> dict[str, Any]:
        """Prove the entry as the second of three."""
        first, last = hashlib.sha256(b"\0first").digest(), hashlib.sha256(b"\0last").digest()
        node = hashlib.sha256(b"\1" + first + hashlib.sha256(b"\0" + body).digest()).digest()
        root = hashlib.sha256(b"\1" + node + last).digest()
        origin = f"log.{self.name}.example" + (" - 12345" if generation == 1 else "")
        text = f"{origin}\n3\n{b64(root)}\n"
        value = self.log_id(generation)[:4] + signer.sign(text.encode())
        note = f"{text}\n\N{EM DASH} log.{self.name}.example {b64(value)}\n"
        return {
            "logIndex": "1", "treeSize": "3", "rootHash": b64(root),
            "hashes": [b64(first), b64(last)], "checkpoint": {"envelope": note},
        }  # fmt: skip

    def token(self, value: bytes, at: datetime = AT, by: Identity | None = None) -> str:
        """Return a timestamp response over a value, in Base64."""
        token = tsa.token_der(value, by or self.stamper, at=at)
        return b64(der.sequence(der.sequence(der.integer(0)), token))

    def trusted_root(self, **changes: Any) -> bytes:
        """Return the trust root; ``changes`` replace its members."""
        logs = [
            self._log(self.log, "PKIX_ECDSA_P256_SHA_256", self.log_id(1)),
            self._log(self.log_2, "PKIX_ED25519", self.log_id(2)),
        ]
        certificates = hashlib.sha256(self.certificate_log.spki).digest()
        whole = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": logs,
            "certificateAuthorities": [self._authority(self.intermediate, self.root)],
            "ctlogs": [self._log(self.certificate_log, "PKIX_ECDSA_P256_SHA_256", certificates)],
            "timestampAuthorities": [self._authority(self.stamper, self.root)],
            **changes,
        }
        return json.dumps(whole).encode()

    def _window(self) -> dict[str, str]:
        window = {"start": self.begin.isoformat().replace("+00:00", "Z")}
        if self.end is not None:
            window["end"] = self.end.isoformat().replace("+00:00", "Z")
        return window

    def _log(self, of: Key, details: str, log_id: bytes) -> dict[str, Any]:
        public = {"rawBytes": b64(of.spki), "keyDetails": details, "validFor": self._window()}
        return {
            "baseUrl": self.log_url, "hashAlgorithm": "SHA2_256", "publicKey": public,
            "logId": {"keyId": b64(log_id)},
        }  # fmt: skip

    def _authority(self, *chain: Identity) -> dict[str, Any]:
        return {
            "subject": {"organization": "Conformance", "commonName": self.name},
            "uri": f"https://{self.name}.example",
            "certChain": {"certificates": [{"rawBytes": b64(one.certificate)} for one in chain]},
            "validFor": self._window(),
        }

    # --- bundles -----------------------------------------------------------------

    def message(self, content: bytes, leaf: Identity | None = None, **how: Any) -> dict[str, Any]:
        """Return a bundle over a file's digest; ``how`` goes to `entry`."""
        leaf = leaf or self.leaf()
        value, digest = leaf.key.sign(content), hashlib.sha256(content)
        body = canonical({
            "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": digest.hexdigest()}},
                "signature": {"content": b64(value),
                              "publicKey": {"content": b64(leaf.pem)}},
            },
        })  # fmt: skip
        return {
            "mediaType": V3,
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(leaf.certificate)},
                "tlogEntries": [self.entry(body, ("hashedrekord", "0.0.1"), **how)],
            },
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": b64(digest.digest())},
                "signature": b64(value),
            },
        }

    def message_2(
        self, content: bytes, leaf: Identity | None = None, at: datetime = AT, **how: Any
    ) -> dict[str, Any]:
        """Return a bundle with an entry of the second generation, and a timestamp."""
        leaf = leaf or self.leaf()
        value, digest = leaf.key.sign(content), hashlib.sha256(content).digest()
        body = canonical({
            "apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
                "data": {"algorithm": "SHA2_256", "digest": b64(digest)},
                "signature": {"content": b64(value), "verifier": {
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "x509Certificate": {"rawBytes": b64(leaf.certificate)}}},
            }},
        })  # fmt: skip
        entry = self.entry(body, ("hashedrekord", "0.0.2"), at=None, generation=2, **how)
        return {
            "mediaType": V3,
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(leaf.certificate)},
                "tlogEntries": [entry],
                "timestampVerificationData": {
                    "rfc3161Timestamps": [{"signedTimestamp": self.token(value, at)}]
                },
            },
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": b64(digest)},
                "signature": b64(value),
            },
        }

    def attested(self, payload: bytes, leaf: Identity | None = None, **how: Any) -> dict[str, Any]:
        """Return a bundle over a statement."""
        leaf = leaf or self.leaf()
        value = leaf.key.sign(pae(payload))
        body = canonical({
            "apiVersion": "0.0.1", "kind": "dsse", "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": "00" * 32},
                "payloadHash": {"algorithm": "sha256",
                                "value": hashlib.sha256(payload).hexdigest()},
                "signatures": [{"signature": b64(value), "verifier": b64(leaf.pem)}],
            },
        })  # fmt: skip
        return {
            "mediaType": V3,
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(leaf.certificate)},
                "tlogEntries": [self.entry(body, ("dsse", "0.0.1"), **how)],
            },
            "dsseEnvelope": {
                "payload": b64(payload), "payloadType": PAYLOAD,
                "signatures": [{"sig": b64(value)}],
            },
        }  # fmt: skip

    def attestation(self, name: str, content: bytes, **how: Any) -> dict[str, Any]:
        """Return a PEP 740 attestation of a distribution file."""
        bundle = self.attested(statement(name, content), **how)
        material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
        return {
            "version": 1,
            "verification_material": {
                "certificate": material["certificate"]["rawBytes"],
                "transparency_entries": material["tlogEntries"],
            },
            "envelope": {
                "statement": envelope["payload"], "signature": envelope["signatures"][0]["sig"],
            },
        }  # fmt: skip


def workflow(uri: str = WORKFLOW) -> bytes:
    """Return a GeneralName that is a URI."""
    return der.context(6, uri.encode(), constructed=False)


def email(address: str) -> bytes:
    """Return a GeneralName that is an e-mail address."""
    return der.context(1, address.encode(), constructed=False)


def user(name: str) -> bytes:
    """Return a GeneralName that is a user's name, as Fulcio writes it."""
    return der.context(0, der.oid("1.3.6.1.4.1.57264.1.7") + der.context(0, der.utf8(name)))


def wheel(files: dict[str, bytes], *, record: bytes | None = None) -> bytes:
    """Return a wheel of these files and their list (or ``record`` in its place)."""
    import io
    import zipfile

    rows = [f"{path},sha256={_url64(data)},{len(data)}" for path, data in files.items()]
    name = "demo-1.0.dist-info/RECORD"
    listed = "\n".join([*rows, f"{name},,", ""]).encode() if record is None else record
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**files, name: listed}.items():
            archive.writestr(path, data)
    return out.getvalue()


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
