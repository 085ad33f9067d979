"""Denials: a revocation as deny rules, in the widest form first.

No target knows every way to name who signed a file.  A form is a set of rules that name the same
files; a target gets the first form all of whose rules it can say.  Digests come last: they name
files that are known today, and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from signward.frozen import replace
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    Layer,
    Material,
    Mode,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
)
from signward.policy.rules.reading import guid
from signward.policy.rules.revoking import Blast, Kind

PREFIX = "revoked-"
"""Begins the names of the rules made here."""

EVERYTHING = "everything-else"
"""The rule that lets all else run, where denials stand alone."""

DIGESTS_IN_RULE = 1000
"""Digests of one rule: a rule that a target cannot say is lost whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to say it: ``told`` is what people read, ``keys`` what the rules refer to."""

    told: str
    rules: tuple[Rule, ...]
    keys: tuple[Material, ...] = ()


def forms(blast: Blast, kinds: Collection[str], der: bytes = b"") -> Iterator[Form]:
    """Yield the forms for a revocation.

    ``kinds`` are the kinds of digests that the target's files have (``file``, ``oci`` ...), ``der``
    is the certificate where it is at hand.
    """
    culprit = blast.culprit
    if culprit.kind is Kind.PUBLISHER:
        yield from _of_publisher(blast)
    elif culprit.kind is Kind.CERTIFICATE:
        yield from _of_certificate(blast, der)
    named = sorted(culprit.digests or blast.digests)
    digests = [digest for digest in named if digest.partition(":")[0] in kinds]
    if digests:
        yield from _of_digests(digests, None if culprit.kind is Kind.DIGEST else blast)


def _of_publisher(blast: Blast) -> Iterator[Form]:
    identity = blast.culprit.identity
    yield _publishers("by its lasting identity", [PublisherMatch(identity=identity)])
    named = _named(identity)
    if named is not None:
        yield _publishers("by its names in certificates", [named])
    yield from _of_certificates_known(blast)


def _of_certificates_known(blast: Blast) -> Iterator[Form]:
    """Yield the signers' own certificates, by themselves and by what their issuers signed."""
    if not blast.certificates:
        return
    told = f"by {_many(len(blast.certificates), 'certificate')} known today"
    told += _missed(blast.uncertified, "signed by others")
    by_itself = [PublisherMatch(certificate=f"sha256:{c}") for c in blast.certificates]
    yield _publishers(told, by_itself)
    if len(blast.tbs) == len(blast.certificates):
        yield _publishers(told, [PublisherMatch(tbs=tbs) for tbs in blast.tbs])


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _missed(count: int, how: str) -> str:
    """Return what a form leaves out, for whoever reads what a target is told."""
    return f"; {_many(count, 'known file')} not named: {how}" if count else ""


def _named(identity: str) -> PublisherMatch | None:
    """Return a match by organisation and common name, as ``policy.publisher`` joined them.

    None where they cannot be told apart again.
    """
    prefix, _, rest = identity.partition(":")
    kind = prefix.casefold()
    organization, slash, name = rest.partition("/")
    if kind == "eku":
        return PublisherMatch(eku=rest.partition("@")[0])
    if kind != "subject" or not slash or "/" in name or not (organization and name):
        return None
    return PublisherMatch(organization=organization, common_name=name)


def _of_certificate(blast: Blast, der: bytes) -> Iterator[Form]:
    """Yield the certificate's forms; as a signer's own only where it is not known as an issuer's.

    A condition by certificate is of the signer's own: of an issuer's it would name nothing.
    """
    sha256 = blast.culprit.sha256
    signs = sha256 in blast.certificates
    if signs or not (der or blast.certificates):
        leaf = PublisherMatch(certificate=f"sha256:{sha256}")
        unsure = "" if signs else ", if it signs files itself"
        yield _publishers(f"by the certificate{unsure}", [leaf])
    if der:
        key = material(f"{PREFIX}certificate", der)
        form = _publishers("by the certificate and its key", [PublisherMatch(key=key.name)])
        yield Form(told=form.told, rules=form.rules, keys=(key,))
    if sha256 in blast.certificates and len(blast.certificates) == len(blast.tbs) == 1:
        yield _publishers("by the certificate", [PublisherMatch(tbs=blast.tbs[0])])
    elif not signs:
        yield from _of_certificates_known(blast)


def _publishers(told: str, matches: Sequence[PublisherMatch]) -> Form:
    rules = tuple(_rule(number, publisher=match) for number, match in enumerate(matches, 1))
    return Form(told=told, rules=rules)


def _of_digests(digests: Sequence[str], known: Blast | None) -> Iterator[Form]:
    """Yield digests of every kind, then of each kind: a target may know one only.

    ``known`` is the fleet whose files they are, None where they are what was named.
    """
    kinds = sorted({digest.partition(":")[0] for digest in digests})
    for some in [kinds, *([kind] for kind in kinds if len(kinds) > 1)]:
        chosen = [digest for digest in digests if digest.partition(":")[0] in some]
        parts = [chosen[i : i + DIGESTS_IN_RULE] for i in range(0, len(chosen), DIGESTS_IN_RULE)]
        rules = tuple(_rule(n, digest=tuple(part)) for n, part in enumerate(parts, 1))
        told = f"by {_many(len(chosen), 'digest')} ({', '.join(some)})"
        if known is not None:
            told += f" of files known today{_without(known, kinds, some)}"
        yield Form(told=told, rules=rules)


def _without(known: Blast, kinds: Sequence[str], some: Sequence[str]) -> str:
    """Return how many files of the target's kinds, or of none, have no digest of ``some``."""
    missing = 0
    for words, files in known.kinds_known.items():
        has = set(words.split())
        missing += (
            files if not has.intersection(some) and (not has or has.intersection(kinds)) else 0
        )
    without = _missed(missing, f"without {' or '.join(some)} digest")
    return f"{without}{_missed(known.digests_more, 'too many')}"


def _rule(number: int, *, publisher: PublisherMatch | None = None,
          digest: tuple[str, ...] = ()) -> Rule:  # fmt: skip
    return Rule(id=f"{PREFIX}{number}", action=Action.DENY, publisher=publisher, digest=digest,
                note="revoked")  # fmt: skip


def denying(form: Form, base: RuleSet) -> RuleSet:
    """Return the policy with a form's rules in it, whose names are made unlike those there."""
    taken = {item.id for item in (*base.rules, *base.waivers)}
    rules = tuple(replace(r, id=_free(r.id, taken)) for r in form.rules)
    keys = {**base.keys, **{key.name: key for key in form.keys}}
    return replace(base, rules=(*base.rules, *rules), keys=keys)


def denials_alone(form: Form, everything: Rule | None = None) -> RuleSet:
    """Return a policy of nothing but a form's rules, and of one that lets in ``everything``."""
    rules = (*form.rules, *((everything,) if everything else ()))
    whole = hashlib.sha256(repr(rules).encode()).hexdigest()[:12]
    name = f"{PREFIX}{whole}"
    return RuleSet(
        name=name,
        version=1,
        id=guid(name),
        mode=Mode.ENFORCE,
        requirements=Requirements(),
        rules=rules,
        waivers=(),
        keys={key.name: key for key in form.keys},
        targets={},
        layers=(Layer(name=name, version=1, id=guid(name), rules=frozenset(r.id for r in rules)),),
    )


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "x"
    return name
