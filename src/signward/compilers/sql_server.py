r"""SQL Server: assemblies are loaded if they are listed or signed, and modules carry signatures.

Sources: "Server configuration: clr strict security", "sys.sp_add_trusted_assembly",
"sys.trusted_assemblies", "CREATE CERTIFICATE", "ADD SIGNATURE" (Transact-SQL; SQL Server 2017 and
later).  Under ``clr strict security`` an assembly is loaded if its SHA2_512 is in the list of
trusted assemblies (a rule by ``file:sha512``), or if a certificate signed it whose login has
UNSAFE ASSEMBLY (a rule by ``key``); else only if a login that is not the policy's has that, or
its database is TRUSTWORTHY and its owner's login has: a loss, always.

``apply.sql`` is run in master by a sysadmin, and again after each change: by default it also drops
what the policy does not list.  ``sign.sql`` is run in the database that holds the modules and the
certificate's private key, under the database master key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._by_certificate import (
    LOSSES,
    certificates_of,
    is_plain,
    lose_expiry,
    thumbprint,
)
from signward.compilers._lossy import Ledger
from signward.compilers._tsql import comment, identifier, octets, string
from signward.errors import PolicyError
from signward.frozen import Frozen
from signward.policy.rules.model import Action, Material, Name, Rule, RuleSet, Strict, Text

_PREFIX = "file:sha512:"
_DIGITS = 128
_OWNED = "signward-"
"""Logins of this name's beginning are the policy's: others are left alone."""
_ONE = "SELECT 1 FROM"


class SqlServerSettings(Strict, frozen=True, kw_only=True):
    """``[targets.sql-server]``.

    ``exclusive`` drops trusted assemblies that no rule lists, whoever listed them.  ``modules``
    (``schema.name``) and ``assemblies`` are signed by ``signer``, a certificate in their database.
    """

    exclusive: bool = True
    signer: Text = ""
    modules: Annotated[tuple[Text, ...], msgspec.Meta(max_length=10_000)] = ()
    assemblies: Annotated[tuple[Text, ...], msgspec.Meta(max_length=10_000)] = ()


class _Kept(Frozen, frozen=True, kw_only=True):
    """What the server is told: digests (hex) and certificates, by the rules they came from."""

    digests: Mapping[str, Rule]
    denied: frozenset[str]
    certificates: Mapping[Name, tuple[Rule, Material]]
    rules: tuple[Rule, ...]


class SqlServerCompiler:
    """Writes apply.sql and, where there is something to sign, sign.sql."""

    target = "sql-server"
    title = "SQL Server assemblies and module signatures"
    spec = "Server configuration: clr strict security; sys.sp_add_trusted_assembly; ADD SIGNATURE"
    governs = frozenset({"sql-assembly"})
    kinds: frozenset[str] = frozenset()
    losses: Mapping[str, str] = {
        **LOSSES,
        "digest": "a digest other than file:sha512, or a denial of one that a certificate lets in",
        "others": "other logins with UNSAFE ASSEMBLY and TRUSTWORTHY databases let in as before",
    }
    settings = SqlServerSettings
    checked = ("parsed", "sqlfluff, but for CREATE CERTIFICATE and ADD SIGNATURE, unknown to it")

    def compile(self, rules: RuleSet, settings: SqlServerSettings) -> Compiled:
        """Return the scripts.  Raises ``PolicyError`` for names no database has."""
        ledger = Ledger(self.target)
        kept = _sort(ledger, rules)
        ledger.lose("others", "", self.losses["others"], Towards.LOOSER)
        ledger.lose_requirements(rules, kept.rules)
        ledger.lose_mode(rules)
        lose_expiry(ledger, rules, kept.rules)
        files = [_apply(rules, kept, settings)]
        if settings.modules or settings.assemblies:
            files.append(_sign(rules, settings))
        return ledger.compiled(files)


def _sort(ledger: Ledger, rules: RuleSet) -> _Kept:
    by_digest: list[Rule] = []
    by_key: list[tuple[Rule, Material]] = []
    for rule in ledger.in_turn(rules, SqlServerCompiler.governs):
        field = "digest" if rule.digest else "publisher"
        if not is_plain(ledger, rules, rule, (field,)):
            continue
        if field == "digest" and _are_listable(ledger, rule):
            by_digest.append(rule)
        elif field == "publisher":
            by_key.extend((rule, material) for material in _logins_of(ledger, rules, rule))
    if by_key:
        _lose_denials(ledger, by_digest)
    denied = {d for rule in by_digest if rule.action is Action.DENY for d in _hex(rule)}
    allowed = {d: rule for rule in by_digest if rule.action is Action.ALLOW for d in _hex(rule)}
    return _Kept(
        digests={d: allowed[d] for d in sorted(allowed.keys() - denied)},
        denied=frozenset(denied),
        certificates={_login_name(material): (rule, material) for rule, material in by_key},
        rules=(*by_digest, *(rule for rule, _ in by_key)),
    )


def _login_name(material: Material) -> str:
    """Return the login's and certificate's name: another certificate has another."""
    return f"{_OWNED}{material.name}-{thumbprint(material)[:16].lower()}"


def _are_listable(ledger: Ledger, rule: Rule) -> bool:
    if all(d.startswith(_PREFIX) for d in rule.digest):
        return True
    ledger.lose_rule("digest", rule, "trusted assemblies are listed by file:sha512 and no other")
    return False


def _logins_of(ledger: Ledger, rules: RuleSet, rule: Rule) -> tuple[Material, ...]:
    """Return the certificates that are let in; a denial by certificate has no form here."""
    if rule.action is Action.DENY:
        ledger.lose_rule("publisher", rule, "a certificate cannot be denied, only not let in")
        return ()
    return certificates_of(ledger, rules, rule)


def _lose_denials(ledger: Ledger, by_digest: Sequence[Rule]) -> None:
    """Lose denials by digest where certificates let in, for a login asks for no digest.

    They still keep what they deny off the list.
    """
    for rule in by_digest:
        if rule.action is Action.DENY:
            text = "an assembly that a trusted certificate signed loads anyway"
            ledger.lose_rule("digest", rule, text)


def _hex(rule: Rule) -> Iterator[str]:
    for digest in rule.digest:
        value = digest.removeprefix(_PREFIX)
        if len(value) != _DIGITS:
            raise PolicyError(f"rule {rule.id}", digest, f"{_DIGITS} digits of SHA-512")
        yield value


def _apply(rules: RuleSet, kept: _Kept, settings: SqlServerSettings) -> File:
    statements = [
        comment(f"policy {rules.name} version {rules.version}"),
        "USE [master];",
        *_configuration(),
        *(line for d, rule in kept.digests.items() for line in _listed(d, rule, rules)),
        *_unlisted(kept, settings),
        *_logins(kept, rules),
        *_stale_logins(kept),
    ]
    return File(
        name="apply.sql",
        content=("\n".join(statements) + "\n").encode(),
        deploy="sqlcmd -b -S SERVER -i apply.sql, as a sysadmin; its messages name what it dropped",
    )


def _configuration() -> Iterator[str]:
    for option in ("show advanced options", "clr enabled", "clr strict security"):
        yield f"EXEC sys.sp_configure {string(option)}, 1;"
        yield "RECONFIGURE;"


def _listed(digest: str, rule: Rule, rules: RuleSet) -> Iterator[str]:
    told = string(f"{rules.name} {rules.version}: {rule.id} {rule.note}".rstrip())
    value = octets(digest)
    yield f"IF NOT EXISTS ({_ONE} sys.trusted_assemblies WHERE [hash] = {value})"
    yield f"    EXEC sys.sp_add_trusted_assembly {value}, {told};"


def _unlisted(kept: _Kept, settings: SqlServerSettings) -> Iterator[str]:
    """Drop what is denied, and unless told otherwise whatever is not listed."""
    if not settings.exclusive and not kept.denied:
        return
    named = kept.digests if settings.exclusive else sorted(kept.denied)
    yield "DECLARE @named TABLE ([hash] varbinary(64) PRIMARY KEY);"  # a list has its limits
    yield from (f"INSERT INTO @named VALUES ({octets(d)});" for d in named)  # noqa: S608 - octets
    which = "NOT IN" if settings.exclusive else "IN"
    yield from _dropping(f"[hash] {which} (SELECT [hash] FROM @named)")  # noqa: S608 - no text


def _dropping(condition: str) -> Iterator[str]:
    yield "DECLARE @hash varbinary(64), @told nvarchar(4000);"
    stale = f"sys.trusted_assemblies WHERE {condition}"
    yield f"WHILE EXISTS ({_ONE} {stale})"
    yield "BEGIN"
    yield f"    SELECT TOP (1) @hash = [hash], @told = [description] FROM {stale};"  # noqa: S608
    yield "    EXEC sys.sp_drop_trusted_assembly @hash;"
    yield "    PRINT CONCAT(N'dropped ', @told);"
    yield "END;"


def _logins(kept: _Kept, rules: RuleSet) -> Iterator[str]:
    for name, (rule, material) in sorted(kept.certificates.items()):
        quoted, named = identifier(f"rule {rule.id}", name), f"[name] = {string(name)}"
        yield comment(f"{rules.name}: {rule.id} {rule.note}".rstrip())
        yield f"IF NOT EXISTS ({_ONE} sys.certificates WHERE {named})"
        yield f"    CREATE CERTIFICATE {quoted} FROM BINARY = {octets(material.der.hex())};"
        yield f"IF NOT EXISTS ({_ONE} sys.server_principals WHERE {named})"
        yield f"    CREATE LOGIN {quoted} FROM CERTIFICATE {quoted};"
        yield f"GRANT UNSAFE ASSEMBLY TO {quoted};"


def _stale_logins(kept: _Kept) -> Iterator[str]:
    """Drop the logins that an earlier version of the policy made and this one does not."""
    listed = "".join(f" AND [name] <> {string(name)}" for name in sorted(kept.certificates))
    mine = f"[type] = 'C' AND [name] LIKE {string(_OWNED + '%')}{listed}"
    yield "DECLARE @login sysname, @drop nvarchar(300);"
    yield f"WHILE EXISTS ({_ONE} sys.server_principals WHERE {mine})"
    yield "BEGIN"
    yield f"    SELECT TOP (1) @login = [name] FROM sys.server_principals WHERE {mine};"  # noqa: S608
    yield "    SET @drop = N'DROP LOGIN ' + QUOTENAME(@login);"
    yield "    EXEC sys.sp_executesql @drop;"
    yield "    PRINT CONCAT(N'dropped ', @login);"
    yield "END;"


def _sign(rules: RuleSet, settings: SqlServerSettings) -> File:
    if not settings.signer:
        raise PolicyError("targets.sql-server", "no signer", "signer: a certificate's name")
    by = identifier("targets.sql-server signer", settings.signer)
    statements = [comment(f"policy {rules.name} version {rules.version}")]
    statements += [f"ADD SIGNATURE TO OBJECT::{_two(name)} BY CERTIFICATE {by};"
                   for name in settings.modules]  # fmt: skip
    statements += [f"ADD SIGNATURE TO ASSEMBLY::{_assembly(name)} BY CERTIFICATE {by};"
                   for name in settings.assemblies]  # fmt: skip
    return File(
        name="sign.sql",
        content=("\n".join(statements) + "\n").encode(),
        deploy="sqlcmd -b -S SERVER -d DATABASE -i sign.sql, where the certificate has its key",
    )


def _two(name: str) -> str:
    schema, dot, module = name.partition(".")
    if not dot:
        raise PolicyError("targets.sql-server modules", repr(name[:160]), "schema.name")
    parts: Sequence[str] = (schema, module)
    return ".".join(identifier("targets.sql-server modules", part) for part in parts)


def _assembly(name: str) -> str:
    return identifier("targets.sql-server assemblies", name)


COMPILER = SqlServerCompiler()
