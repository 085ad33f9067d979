"""An authority's settings: ``signward.toml`` in its folder, read strictly.

A word that is not known is refused: a misspelt limit would be no limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from signward.authority.access import AccessRules, KeyRules
from signward.authority.feed import MAX_HOURS
from signward.errors import RealmError
from signward.frozen import Frozen, decoder

FILE_NAME = "signward.toml"
MAX_OCTETS = 1024 * 1024

HOURS_A_DAY = 24

Oid = Annotated[str, msgspec.Meta(pattern=r"^[0-2](\.(0|[1-9][0-9]{0,38})){1,30}\Z")]
OidOrNone = Annotated[str, msgspec.Meta(pattern=r"^([0-2](\.(0|[1-9][0-9]{0,38})){1,30})?\Z")]
Days = Annotated[int, msgspec.Meta(ge=1, le=400)]
"""A CRL's life: CSBR 4.9.7 allows those of roots a year."""
Hours = Annotated[int, msgspec.Meta(ge=1, le=400 * HOURS_A_DAY)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]
FeedHours = Annotated[int, msgspec.Meta(ge=1, le=MAX_HOURS)]


class Strict(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings."""


class KeySettings(Strict, frozen=True, kw_only=True):
    """``[keys.NAME]``: where a key is, and its certificates."""

    uri: str
    """A key provider's URI; a relative ``file:`` or ``pkcs12:`` path starts at the folder."""
    certificates: str = ""
    """PEM, leaf first, relative to the folder; empty where the provider keeps them, or none."""


class CaSettings(Strict, frozen=True, kw_only=True):
    """``[ca.NAME]``: a certification authority."""

    key: str
    offline: bool = False
    """Never opened by the service: a root that signs in ceremonies."""
    ocsp_key: str = ""
    crl_days: Days = 7
    """From a CRL's thisUpdate to its nextUpdate."""
    crl_ahead_hours: Hours = 24
    """How long before nextUpdate the next CRL is published."""
    profiles: tuple[str, ...] = ()
    """What may be issued."""
    policies: OidOrNone = ""
    """The OID below which the policies of its certificates stand; empty: they name none."""

    def __post_init__(self) -> None:
        """Refuse CRLs whose next one would be due at once, and again at once."""
        if self.crl_ahead_hours >= self.crl_days * HOURS_A_DAY:
            raise ValueError("crl_ahead_hours must be less than crl_days")


class TsaSettings(Strict, frozen=True, kw_only=True):
    """``[tsa]``: the time-stamping authority."""

    key: str
    policy: Oid
    """The policy's OID."""
    accuracy_ms: Milliseconds = 1000


class LogSettings(Strict, frozen=True, kw_only=True):
    """``[log]``: the transparency log."""

    key: str
    origin: str
    """The log's name in its checkpoints (C2SP tlog-checkpoint)."""


class FeedSettings(Strict, frozen=True, kw_only=True):
    """``[feed]``: the revocation feed."""

    key: str
    hours: FeedHours = 24
    """How long a version of it is good."""


class SignSettings(KeyRules, frozen=True, kw_only=True):
    """``[sign.NAME]``: a key that the service signs with for others, under `KeyRules`."""

    key: str
    timestamp: bool = True
    """Whether each value is timestamped: by ``timestamps``, else by ``[tsa]`` if there is one."""
    timestamps: tuple[str, ...] = ()
    """RFC 3161 authorities elsewhere, asked in order instead of our own."""


class ClientCertificates(Strict, frozen=True, kw_only=True):
    """``[identity.mtls]``: whose client certificates count where TLS ends in the service."""

    ca: str
    """PEM of the authorities that issue them, relative to the folder."""
    crls: tuple[str, ...] = ()
    """PEM files of their CRLs; if any is named, each certificate must be found good in one."""


class IssuerSettings(Strict, frozen=True, kw_only=True):
    """``[identity.issuers.NAME]``: an OpenID Connect issuer whose tokens count."""

    issuer: str
    """What its tokens say in ``iss``, to the letter."""
    audience: str
    """What a token for this service says in ``aud``."""
    jwks: str
    """Its keys: an https URL, or a file relative to the folder."""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    """Those that its tokens may be signed with; only such with a public key."""


class IdentitySettings(Strict, frozen=True, kw_only=True):
    """``[identity]``: how callers of the service may prove who they are."""

    mtls: ClientCertificates | None = None
    issuers: dict[str, IssuerSettings] = msgspec.field(default_factory=dict)


class Settings(Strict, frozen=True, kw_only=True):
    """The whole file."""

    name: str
    """The organisation, as it stands in subject names."""
    url: str
    """Where others reach the service; stands in certificates."""
    identity: IdentitySettings = msgspec.field(default_factory=IdentitySettings)
    keys: dict[str, KeySettings] = msgspec.field(default_factory=dict)
    ca: dict[str, CaSettings] = msgspec.field(default_factory=dict)
    tsa: TsaSettings | None = None
    log: LogSettings | None = None
    feed: FeedSettings | None = None
    sign: dict[str, SignSettings] = msgspec.field(default_factory=dict)
    access: AccessRules = msgspec.field(default_factory=AccessRules)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a key that signs for others and for the authority too.

        Whoever may have files signed could have certificates, answers about revocation, tokens
        or checkpoints signed: what is asked for is octets (``authority/octets.py``).
        """
        own = {self._place(key): what for what, key in self._own_keys()}
        for name, rules in self.sign.items():
            if what := own.get(self._place(rules.key)):
                raise ValueError(f"found the key of [{what}] in [sign.{name}], required another")

    def _own_keys(self) -> Iterator[tuple[str, str]]:
        """Return every key that the authority uses for itself, with the table that names it."""
        for name, ca in self.ca.items():
            yield from ((f"ca.{name}", key) for key in (ca.key, ca.ocsp_key) if key)
        tables = {"tsa": self.tsa, "log": self.log, "feed": self.feed}
        yield from ((what, table.key) for what, table in tables.items() if table)

    def _place(self, key: str) -> str:
        """Return where a key is; its name where no table says it."""
        return self.keys[key].uri if key in self.keys else key


def load(path: Path) -> Settings:
    """Read settings.  Raises ``RealmError``."""
    try:
        if path.stat().st_size > MAX_OCTETS:
            raise RealmError(str(path), "a larger file", f"at most {MAX_OCTETS} octets")
        decoder(Settings)  # before threads meet it
        return msgspec.toml.decode(path.read_bytes(), type=Settings)
    except OSError as error:
        raise RealmError(
            str(path), error.strerror or "no file", "the settings of an authority",
            hint="signward ca init --data DIR makes one",
        ) from None  # fmt: skip
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RealmError(str(path), str(error)[:300], "settings as documented") from None


def dump(settings: Settings) -> str:
    """Return settings as TOML text, without what is as by default."""
    return "\n".join(_lines(msgspec.to_builtins(settings), _defaults(), ())).lstrip("\n") + "\n"


def _defaults() -> dict[str, Any]:
    """Return the fields that need no line, by the table they stand in."""
    tables: dict[str, type[Frozen]] = {
        "keys": KeySettings, "ca": CaSettings, "tsa": TsaSettings, "feed": FeedSettings,
        "sign": SignSettings,
    }  # fmt: skip
    return {
        name: {field.name: field.default for field in msgspec.structs.fields(kind)}
        for name, kind in tables.items()
    }


def _lines(table: dict[str, Any], defaults: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    known = defaults.get(path[0], {}) if path else {}
    plain = [
        f"{name} = {_value(value)}"
        for name, value in table.items()
        if value is not None and not isinstance(value, dict) and known.get(name, ...) != value
    ]
    lines = ["", f"[{'.'.join(path)}]", *plain] if path and plain else plain
    for name, value in table.items():
        if isinstance(value, dict):
            lines += _lines(value, defaults, (*path, name))
    return lines


def _value(value: Any) -> str:
    """Return a value in TOML; JSON's strings, numbers, booleans and lists are TOML's too."""
    return msgspec.json.encode(value).decode()
