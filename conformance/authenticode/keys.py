"""Test keys by kind and role, made once per process, and signatures with them.

Kinds: ``rsa1024``, ``rsa2048``, ``rsa3072``, ``rsa4096``, ``p256``, ``p384``, ``p521``,
``ed25519``, ``ml-dsa-44``, ``ml-dsa-65``, ``ml-dsa-87``, ``dsa1024``,
``dsa2048``.  Keys are fresh in every process and never leave it, but for the
PEM files that a peer's signer needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, mldsa, padding, rsa

from signward.wire import der

DIGEST_OIDS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}

_SIGNATURE_OIDS = {
    ("rsa", "md5"): "1.2.840.113549.1.1.4",
    ("rsa", "sha1"): "1.2.840.113549.1.1.5",
    ("rsa", "sha256"): "1.2.840.113549.1.1.11",
    ("rsa", "sha384"): "1.2.840.113549.1.1.12",
    ("rsa", "sha512"): "1.2.840.113549.1.1.13",
    ("ec", "sha1"): "1.2.840.10045.4.1",
    ("ec", "sha256"): "1.2.840.10045.4.3.2",
    ("ec", "sha384"): "1.2.840.10045.4.3.3",
    ("ec", "sha512"): "1.2.840.10045.4.3.4",
    ("dsa", "sha1"): "1.2.840.10040.4.3",
    ("dsa", "sha256"): "2.16.840.1.101.3.4.3.2",
}
_OWN_HASH_OIDS = {
    "ed25519": "1.3.101.112",
    "ml-dsa-44": "2.16.840.1.101.3.4.3.17",
    "ml-dsa-65": "2.16.840.1.101.3.4.3.18",
    "ml-dsa-87": "2.16.840.1.101.3.4.3.19",
}
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "md5": hashes.MD5,
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "p256": ec.SECP256R1,
    "p384": ec.SECP384R1,
    "p521": ec.SECP521R1,
}
_ML_DSA: dict[str, Any] = {
    "ml-dsa-44": mldsa.MLDSA44PrivateKey,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A private test key.  ``family`` is ``rsa``, ``ec``, ``dsa`` or the algorithm's own name."""

    kind: str
    role: str
    private: Any

    @property
    def family(self) -> str:
        """The part of a signature algorithm that the key decides."""
        if self.kind[:3] in ("rsa", "dsa"):
            return self.kind[:3]
        return "ec" if self.kind in _CURVES else self.kind

    @property
    def hashes_itself(self) -> bool:
        """Whether the scheme takes the message and not its digest (EdDSA, ML-DSA)."""
        return self.kind in _OWN_HASH_OIDS

    @property
    def spki(self) -> bytes:
        """The public key as DER SubjectPublicKeyInfo (RFC 5280 4.1.2.7)."""
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return bytes(self.private.public_key().public_bytes(encoding, form))

    @property
    def pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 PEM, for a peer's signer."""
        return bytes(
            self.private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def sign(self, data: bytes, digest: str = "sha256", *, pss: bool = False) -> bytes:
        """Return the signature value over ``data``; ``digest`` is ignored where the key hashes."""
        if self.hashes_itself:
            return bytes(self.private.sign(data))
        algorithm = _HASHES[digest]()
        if self.family == "rsa":
            scheme: Any = padding.PKCS1v15()
            if pss:
                scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
            return bytes(self.private.sign(data, scheme, algorithm))
        if self.family == "ec":
            return bytes(self.private.sign(data, ec.ECDSA(algorithm)))
        return bytes(self.private.sign(data, algorithm))


@cache
def key(kind: str = "rsa2048", role: str = "leaf") -> Key:
    """Return the key of this kind for this role; made at the first call, then reused."""
    return Key(kind=kind, role=role, private=_generate(kind))


def _generate(kind: str) -> Any:
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind]())
    if kind.startswith("dsa"):
        p, q, g = _DSA_PARAMETERS[kind]
        return dsa.DSAParameterNumbers(p, q, g).parameters().generate_private_key()
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return _ML_DSA[kind].generate()


def digest_algorithm(digest: str) -> bytes:
    """Return the AlgorithmIdentifier of a digest, with NULL parameters as Authenticode has it."""
    return der.sequence(der.oid(DIGEST_OIDS[digest]), der.null())


def signature_algorithm(signer: Key, digest: str = "sha256", *, pss: bool = False) -> bytes:
    """Return the AlgorithmIdentifier of a whole signature (RFC 3279, 4055, 5758, 8410, 9881)."""
    if signer.hashes_itself:
        return der.sequence(der.oid(_OWN_HASH_OIDS[signer.kind]))
    if pss:
        return _pss_algorithm(digest)
    oid = der.oid(_SIGNATURE_OIDS[signer.family, digest])
    return der.sequence(oid, der.null()) if signer.family == "rsa" else der.sequence(oid)


def _pss_algorithm(digest: str) -> bytes:
    """RSASSA-PSS with MGF1 over the same digest and a salt of its length (RFC 4055 3.1)."""
    inner = digest_algorithm(digest)
    mgf = der.sequence(der.oid("1.2.840.113549.1.1.8"), inner)
    salt = der.integer(_HASHES[digest]().digest_size)
    parameters = der.sequence(der.context(0, inner), der.context(1, mgf), der.context(2, salt))
    return der.sequence(der.oid("1.2.840.113549.1.1.10"), parameters)


def bare_algorithm(signer: Key) -> bytes:
    """Return the key's algorithm alone, as Authenticode signer infos name RSA (RFC 5652 5.3)."""
    if signer.family == "rsa":
        return der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
    return signature_algorithm(signer)


_DSA_PARAMETERS = {
    "dsa1024": (
        int(
            "e21f0c777cce08ef20ce02c6e70536532a2bd33cf8fae5e2b7ffcb21b1ce7e90abf95201b016d732"
            "141623a721d4ec315dbc01042a15c05581b0ed97ad813eafa27a43fe3f0670c7b5737df95e11e9e3"
            "655fdddb482222b0bb88145c70f497531e9a3bb35e14abe62cf5c2ebcf1ddd6b3db25ffe8b403056"
            "43e04118cc4b692f",
            16,
        ),
        0xA1B31E0C39DA3242CA5DE419842A9476C578B40341BE1EC5C9FF3DC5,
        int(
            "a35a9e3411cd64d635febd16719ca2717709c2e483b683669639c4b0d92d626dc29d8292aa45c481"
            "9de4add23b48941f2252bdf8672faf607e48f148e90f874676cb2c55b50785ddaf6a1de3ac12cd81"
            "df399b14249bf1e8913d3308a8b3ed40527a914094bd373bf0d293e8c90e4d8aa7240253056f355e"
            "8939469069b120f7",
            16,
        ),
    ),
    "dsa2048": (
        int(
            "806775775f899eff139b85f79698ca480f8b297887768ae0ccbbc128262a50ea49b9f55d27425c48"
            "169769bb667110bc3ddc60f750f32c2c744afd35b6f8873a23c5174d1afed966139e820982b33262"
            "0f74cfb2e8ed2b741e87bda7d5b10e37b7f75a3da525d80b10439b4d6bb232f14766e7ca482dea0c"
            "e9552719fe6782bd8538ea2090ce24d9a42131912adda37153cda0db5c286286d657ef214cdf6b59"
            "e62f55c49dafc3c6ff8972403f89f880cdaa38c020fb803ed8213d3b237529a5277e99c536450355"
            "ea9bbdea19bbb22dc60d8421f0215a01191b9c8c13c5e85f24cee0710658a4d8bdda1628f7501cad"
            "7c13da8382c0000e7ca7b3d32c46c17d",
            16,
        ),
        0xC7FBD2E5AF33B4E2E9DE124C53AFFB05E81352D2A76EE5341E221623,
        int(
            "5c5f23db80345554432ebfaf691330bc5bef6c5dd678103e981dc16cf95f8c87332be2aa6d566f82"
            "43c1f949c54d4b76bebd5074b247d22345191937ddd70cd9c7c0638110a531385f4c7039f27410e4"
            "dedc2da07aba09ca1cc6856c30a552c546e002708f7900ed37e8c735455c15d429a8857185e56e67"
            "8c110d9b07c871fed779b38c1ec02abf29979be4529ea1245e7bf228dcf52e3e436454042ddc977b"
            "ecf6ab4c7bc8f46f5dec5ed366e69e1195ebbe71db4eb5c5bae7f0978910a7c32f5e35cec235f7db"
            "aafd9058b0fcd085404b6e4892a542d0559a4312f528a2b03759069f1c8eaf6019cedabc0656ff0b"
            "ecf04f79827e7db70e6673dfcbc76e90",
            16,
        ),
    ),
}
"""Domain parameters made once for this suite: making them anew takes seconds."""
