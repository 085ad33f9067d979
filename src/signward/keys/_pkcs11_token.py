"""One private key on a PKCS#11 token (Cryptoki 2.40), by python-pkcs11.

The binding initialises modules for one thread (``C_Initialize`` without arguments), so
every call into a module is made under the module's lock and keys sign one value at a time.

A token may go away (a cable, a network, a service that starts anew) and come back.  What was
open is worth nothing then, and many modules see no token any more until they are initialised
anew: so that is done when a handle turns out to be dead, once for each value asked for.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import pkcs11
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag

from signward.errors import BadInputError, KeyProviderError
from signward.keys import Secrets, digest_of
from signward.keys._certificates import key_in, leaf_first, path_from, spki_of
from signward.keys._local import PASSWORD_HINT, read_key_file
from signward.keys._pkcs11_uri import Pkcs11Uri, module_file
from signward.state import Algorithm
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS

MAX_OBJECTS = 256
"""Objects of one kind looked at on a token; PIV tokens hold 24 keys, HSM partitions thousands."""

_LOCKS: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
_STARTS: defaultdict[str, int] = defaultdict(int)
"""How often each module was initialised anew: a handle of before may name another object now."""

T = TypeVar("T")

_MGFS = {
    "sha1": pkcs11.MGF.SHA1, "sha224": pkcs11.MGF.SHA224, "sha256": pkcs11.MGF.SHA256,
    "sha384": pkcs11.MGF.SHA384, "sha512": pkcs11.MGF.SHA512,
}  # fmt: skip
_DIGESTS = {
    "sha1": Mechanism.SHA_1, "sha224": Mechanism.SHA224, "sha256": Mechanism.SHA256,
    "sha384": Mechanism.SHA384, "sha512": Mechanism.SHA512,
}  # fmt: skip
_SCHEMES = {
    KeyType.RSA: ("rsa-pkcs1v15", "rsa-pss"),
    KeyType.EC: ("ecdsa",),
    KeyType.EC_EDWARDS: ("ed25519",),
}
_ED25519 = "1.3.101.112"
_EC_PUBLIC_KEY = "1.2.840.10045.2.1"

_REFUSALS: dict[type[Exception], tuple[str, str, str]] = {
    pkcs11.PinIncorrect: ("a wrong PIN", "the user PIN", "a few more wrong ones lock the token"),
    pkcs11.PinLenRange: ("a PIN of a length it does not have", "the user PIN", ""),
    pkcs11.PinInvalid: ("a PIN with characters it does not have", "the user PIN", ""),
    pkcs11.PinExpired: ("an expired PIN", "a PIN in force", "change it with the vendor's tool"),
    pkcs11.PinLocked: ("a locked PIN", "one that is not locked",
                       "unlock it with the PUK or the security officer's PIN"),
    pkcs11.UserPinNotInitialized: ("a token whose user PIN was never set", "one that is set up",
                                   ""),
    pkcs11.TokenNotPresent: ("no token in the slot", "it, inserted", ""),
    pkcs11.DeviceRemoved: ("that the token was removed", "it, inserted all the time", ""),
    pkcs11.MechanismInvalid: ("a token without this algorithm", "one that has it",
                              "pkcs11-tool --list-mechanisms shows what it has"),
    pkcs11.KeyTypeInconsistent: ("a key of another kind", "one of the algorithm's", ""),
    pkcs11.UserNotLoggedIn: ("that nobody is logged in", "a login", ""),
    pkcs11.GeneralError: ("no answer of the token", "one", ""),
    pkcs11.DeviceError: ("no answer of the token", "one", ""),
}  # fmt: skip

_LOST = (
    pkcs11.DeviceError, pkcs11.DeviceRemoved, pkcs11.GeneralError, pkcs11.KeyHandleInvalid,
    pkcs11.ObjectHandleInvalid, pkcs11.SessionClosed, pkcs11.SessionHandleInvalid,
    pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised, pkcs11.UserNotLoggedIn,
)  # fmt: skip
"""How tokens, and modules that reach theirs over a network, say that what was open is gone."""

_PIN_REFUSED = (
    pkcs11.PinExpired, pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange,
    pkcs11.PinLocked, pkcs11.UserPinNotInitialized,
)  # fmt: skip


class _Held(NamedTuple):
    """A session with the key in it, since the module's n-th start; ``pin`` for every use."""

    session: Any
    key: Any
    pin: str | None
    start: int


class TokenKey:
    """An open key on a token (a ``SigningKey``)."""

    parallel = 1
    in_memory = False

    def __init__(self, name: str, module: str, hold: Callable[[], _Held]) -> None:
        """Open the key by ``hold``, which is called again whenever the token was away."""
        self._name, self._module, self._hold = name, module, hold
        self._lock = _LOCKS[module]
        self._barred: pkcs11.PKCS11Error | None = None
        self.certificates: tuple[bytes, ...] = ()
        with self._lock, refusals(name):
            self._held: _Held | None = hold()
            try:
                self._read(self._held)
            except BaseException:
                self._held.session.close()
                raise

    def _read(self, held: _Held) -> None:
        self._type = held.key.key_type
        self.certificates = _certificates(held)
        self.public_key = self._public_key(held)
        self.certificates = leaf_first(self._name, self.public_key, self.certificates)

    def __repr__(self) -> str:
        return f"TokenKey({self._name!r})"

    def sign(self, data: bytes, algorithm: Algorithm) -> bytes:
        """Sign ``data`` (see ``SigningKey``): the token gets a digest, but for EdDSA."""
        if algorithm.scheme not in _SCHEMES.get(self._type, ()):
            found = f"a key of type {self._type.name}"
            raise KeyProviderError(self._name, found, f"one for {algorithm}")
        mechanism, parameter, octets = _order(self._name, data, algorithm)
        if algorithm.scheme == "ecdsa":
            octets = octets[: self._order_octets()]

        def signed(held: _Held) -> Any:
            return held.key.sign(
                octets, mechanism=mechanism, mechanism_param=parameter, pin=held.pin
            )

        value = self._use(signed)
        return _ecdsa_value(value) if algorithm.scheme == "ecdsa" else bytes(value)

    def refresh(self) -> None:
        """Read the certificates with the key's CKA_ID anew, and the path they lead to."""
        self.certificates = self._use(_certificates)

    def close(self) -> None:
        """Log out and close the session."""
        with self._lock, refusals(self._name):
            if self._held is not None and self._held.start == _STARTS[self._module]:
                self._held.session.close()

    def _use(self, deed: Callable[[_Held], T]) -> T:
        """Do something with the open key; where it was lost, open it again and do it then."""
        with self._lock, refusals(self._name):
            if self._held is not None and self._held.start == _STARTS[self._module]:
                try:
                    return deed(self._held)
                except _LOST:
                    self._held = None
            return deed(self._found_again())

    def _found_again(self) -> _Held:
        """Open the key anew; a PIN that was refused once is not tried again: that locks tokens."""
        if self._barred is not None:
            raise self._barred
        lost, self._held = self._held is None, None
        if lost:
            _STARTS[self._module] += 1
            _library(self._module).reinitialize()
        try:
            held = self._hold()
        except _PIN_REFUSED as error:
            self._barred = error
            raise
        if self._public_key(held) != self.public_key:
            held.session.close()
            raise KeyProviderError(self._name, "another key than before", "the same")
        self._held = held
        return held

    def _public_key(self, held: _Held) -> bytes:
        """Return the key's SPKI: from the key pair itself, else from its certificate."""
        identifier = _maybe(held.key, Attribute.ID)
        wanted = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: identifier}
        publics = list(_objects(held.session, wanted)) if identifier else []
        for half in (held.key, *publics):
            spki = _spki(half)
            if spki:
                return spki
        if self.certificates:
            return key_in(self._name, self.certificates[0])
        found = "neither its public key nor its certificate on the token"
        raise KeyProviderError(self._name, found, "one, with the same CKA_ID")

    def _order_octets(self) -> int:
        """Return the length of an ECDSA key's field, which bounds the digest it signs."""
        key: Any = serialization.load_der_public_key(self.public_key)
        return int(key.key_size + 7) // 8


def open_token_key(uri: Pkcs11Uri, secrets: Secrets) -> TokenKey:
    """Open the one private key that ``uri`` names.  Raises ``KeyProviderError``."""
    module = module_file(uri)
    return TokenKey(str(uri), module, partial(_hold, module, uri, secrets))


def _hold(module: str, uri: Pkcs11Uri, secrets: Secrets) -> _Held:
    """Find the key and log in; the module's lock is held."""
    token = _token(_library(module), uri)
    session, pin = _session(token, uri, secrets)
    try:
        key = _private_key(session, uri)
        always = _maybe(key, Attribute.ALWAYS_AUTHENTICATE)
    except BaseException:
        session.close()
        raise
    return _Held(session, key, pin if always else None, _STARTS[module])


def _library(path: str) -> Any:
    """Return the module, initialised."""
    try:
        return pkcs11.lib(path)
    except pkcs11.PKCS11Error as error:
        raise _no_module(path, type(error).__name__) from None
    except (OSError, RuntimeError) as error:
        raise _no_module(path, str(error)) from None


def _certificates(held: _Held) -> tuple[bytes, ...]:
    """Return the certificates with the key's CKA_ID, and the path they lead to."""
    identifier = _maybe(held.key, Attribute.ID)
    found = _objects(held.session, {Attribute.CLASS: ObjectClass.CERTIFICATE})
    kept = [(bytes(_maybe(one, Attribute.ID) or b""), one[Attribute.VALUE]) for one in found]
    own = [value for one, value in kept if identifier and one == identifier]
    return path_from(own, [value for _, value in kept]) if own else ()


def _no_module(path: str, why: str) -> KeyProviderError:
    return KeyProviderError(path, f"no usable PKCS#11 module ({why})", "the vendor's library")


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """Turn what a token refuses into ``KeyProviderError``; none of it holds a PIN."""
    try:
        yield
    except pkcs11.PKCS11Error as error:
        kind = type(error)
        found, required, hint = _REFUSALS.get(kind, (f"refused ({kind.__name__})", "success", ""))
        raise KeyProviderError(name, found, required, hint) from None


def _token(library: Any, uri: Pkcs11Uri) -> Any:
    """Return the one token that fits."""
    readable: dict[str, Callable[[Any], str]] = {
        "token": lambda token: token.label,
        "serial": lambda token: token.serial.decode("latin-1").rstrip(" \0"),
        "manufacturer": lambda token: token.manufacturer_id,
        "model": lambda token: token.model,
        "slot-id": lambda token: str(token.slot.slot_id),
    }
    wanted = {name: value for name, value in uri.path.items() if name in readable}
    present = list(_present(library))
    fitting = [
        token for token in present
        if all(readable[name](token) == value for name, value in wanted.items())
    ]  # fmt: skip
    if len(fitting) != 1:
        seen = ", ".join(sorted({repr(token.label) for token in present})) or "none"
        hint = f"tokens present: {seen}"
        raise KeyProviderError(str(uri), f"{len(fitting) or 'no'} such tokens", "one", hint)
    return fitting[0]


def _present(library: Any) -> Iterator[Any]:
    for slot in library.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
            continue
        if token.flags & TokenFlag.TOKEN_INITIALIZED:
            yield token


def _session(token: Any, uri: Pkcs11Uri, secrets: Secrets) -> tuple[Any, str | None]:
    """Return a session, logged in where the token wants it, and the PIN that was given."""
    if not token.flags & TokenFlag.LOGIN_REQUIRED:
        return token.open(), None
    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise pkcs11.PinLocked
    if token.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
        return token.open(user_pin=pkcs11.types.PROTECTED_AUTH), None
    pin = _pin(token, uri, secrets)
    try:
        return token.open(user_pin=pin), pin
    except pkcs11.UserAlreadyLoggedIn:  # another key of this token is open
        return token.open(), pin


def _pin(token: Any, uri: Pkcs11Uri, secrets: Secrets) -> str:
    if uri.pin_file:
        line = read_key_file(uri.pin_file).partition(b"\n")[0].removesuffix(b"\r")
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            raise KeyProviderError(uri.pin_file, "octets that are no UTF-8", "a PIN") from None
    pin = secrets(f"PIN of {token.label}")
    if pin is None:
        raise KeyProviderError(str(uri), "no PIN", "the token's user PIN", PASSWORD_HINT)
    return pin


def _private_key(session: Any, uri: Pkcs11Uri) -> Any:
    """Return the one private key that fits."""
    wanted: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    named = dict(wanted)
    if "object" in uri.path:
        named[Attribute.LABEL] = uri.path["object"]
    if uri.id:
        named[Attribute.ID] = uri.id
    fitting = list(_objects(session, named))
    if len(fitting) == 1:
        return fitting[0]
    seen = ", ".join(sorted(_described(one) for one in _objects(session, wanted))) or "none"
    found = f"{len(fitting)} such keys" if fitting else "no such key"
    raise KeyProviderError(str(uri), found, "one private key", f"keys on the token: {seen}")


def _described(key: Any) -> str:
    """Return the attributes that choose a key, as its URI has them."""
    identifier = bytes(_maybe(key, Attribute.ID) or b"")
    escaped = "".join(f"%{octet:02x}" for octet in identifier)
    return f"object={quote(_maybe(key, Attribute.LABEL) or '')};id={escaped}"


def _objects(session: Any, wanted: dict[Attribute, Any]) -> Iterator[Any]:
    for count, found in enumerate(session.get_objects(wanted)):
        if count < MAX_OBJECTS:  # the search is ended by reading it to its end
            yield found


def _maybe(entry: Any, attribute: Attribute) -> Any:
    """Return an attribute, or None where the object has none or keeps it to itself."""
    try:
        return entry[attribute]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed):
        return None


def _spki(half: Any) -> bytes:
    """Return the SPKI in either half of a key pair; empty where it is not told."""
    if half.key_type is KeyType.RSA:
        modulus, exponent = (
            _maybe(half, one) for one in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT)
        )
        if not modulus or not exponent:
            return b""
        numbers = rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus))
        return spki_of(numbers.public_key())
    parameters, point = _maybe(half, Attribute.EC_PARAMS), _maybe(half, Attribute.EC_POINT)
    if not parameters or not point:
        return b""
    edwards = half.key_type is KeyType.EC_EDWARDS
    algorithm = (der.oid(_ED25519),) if edwards else (der.oid(_EC_PUBLIC_KEY), parameters)
    for octets in _points(point):
        try:
            spki = der.sequence(der.sequence(*algorithm), der.bit_string(octets))
            return spki_of(serialization.load_der_public_key(spki))
        except (ValueError, UnsupportedAlgorithm):
            continue
    return b""


def _points(point: bytes) -> Iterator[bytes]:
    """Yield what CKA_EC_POINT may mean: a DER OCTET STRING (2.40), or the point bare."""
    with suppress(BadInputError):
        yield der.parse(point, "EC point").octets()
    yield point


def _order(name: str, data: bytes, algorithm: Algorithm) -> tuple[Mechanism, Any, bytes]:
    """Return the mechanism, its parameter, and the octets that the token gets."""
    if algorithm.scheme == "ed25519":
        return Mechanism.EDDSA, None, data
    if not {algorithm.digest, algorithm.mgf_digest or algorithm.digest} <= _DIGESTS.keys():
        raise KeyProviderError(name, f"{algorithm}", f"a digest of {', '.join(_DIGESTS)}")
    digest = digest_of(data, algorithm)
    if algorithm.scheme == "rsa-pss":
        salt = algorithm.salt_length
        parameter = (_DIGESTS[algorithm.digest], _MGFS[algorithm.mgf_digest], salt)
        return Mechanism.RSA_PKCS_PSS, parameter, digest
    if algorithm.scheme == "ecdsa":
        return Mechanism.ECDSA, None, digest
    identifier = der.sequence(der.oid(DIGEST_OIDS[algorithm.digest]), der.null())
    return Mechanism.RSA_PKCS, None, der.sequence(identifier, der.octet_string(digest))


def _ecdsa_value(value: bytes) -> bytes:
    """Return two integers of one length as ECDSA-Sig-Value (RFC 3279 2.2.3)."""
    half = len(value) // 2
    r, s = int.from_bytes(value[:half]), int.from_bytes(value[half:])
    return der.sequence(der.integer(r), der.integer(s))
