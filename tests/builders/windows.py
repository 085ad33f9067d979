"""Policies for Windows' enforcers: rules they can say and rules they cannot, and files to try."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from signward.policy.rules.decide import decide
from signward.policy.rules.index import Index
from signward.policy.rules.model import (
    Action,
    Layer,
    ProductMatch,
    PublisherMatch,
    Rule,
    RuleSet,
    SignersMatch,
)
from signward.policy.rules.reading import guid
from signward.policy.rules.subject import Signer, Subject
from signward.state import Outcome
from tests.builders.policies import (
    AT,
    FILE_NAMES,
    PRODUCTS,
    VERSIONS,
    digest,
    publishers,
    rule_set,
)

PLACES = (
    r"C:\Program Files\Vendor\agent.exe",
    r"C:\Program Files (x86)\Vendor\sub\tool.dll",
    r"C:\Windows\System32\drivers\a b.sys",
    r"C:\Windows\SysWOW64\tool.dll",
    r"D:\Tools & Co\run.ps1",
    r"\\server\share\x\run.ps1",
)
PATTERNS = (
    *PLACES,
    r"C:\Program Files\**",
    r"%programfiles%\Vendor\**",
    r"%WINDIR%\**",
    r"%SYSTEM32%\**",
    r"**\agent.exe",
    r"D:\Tools & Co\*.ps1",
    r"C:\**\Vendor\**",
    r"%APPDATA%\**",
    "/opt/vendor/**",
)
ADDRESS = {"locality": "Wien", "state": "Wien", "country": "AT"}
EKU = "1.3.6.1.4.1.311.97.1.2.3"

PROGRAMS = ("executable", "library", "script", "installer")
KINDS: tuple[tuple[str, ...], ...] = (
    (), (), ("driver",), PROGRAMS, (*PROGRAMS, "driver"), ("executable",), ("script", "installer"),
    ("pe",), ("msi",), ("powershell", "batch", "javascript", "vbscript", "wsf"), ("image",),
)  # fmt: skip

_FILES = (
    ("executable", "pe"), ("library", "pe"), ("driver", "pe"), ("script", "powershell"),
    ("script", "wsf"), ("script", "batch"), ("installer", "msi"),
)  # fmt: skip


def signer(number: int, *, address: bool = True, eku: bool = False) -> Signer:
    """Return one of the publishers as a signer, with an address in its subject or not."""
    known = publishers()[number].signer
    subject = {**known.subject, **ADDRESS} if address else known.subject
    ekus = (*known.ekus, EKU) if eku else known.ekus
    return msgspec.structs.replace(known, subject=subject, ekus=ekus)


def _publisher_matches() -> tuple[PublisherMatch, ...]:
    found: list[PublisherMatch] = []
    for number, one in enumerate(publishers()):
        subject = signer(number).subject
        tbs, name = signer(number).tbs, subject["common_name"]
        address = {field: subject[field] for field in ("organization", *ADDRESS)}
        found += [
            PublisherMatch(tbs=tbs[1]),
            PublisherMatch(tbs=tbs[0]),
            PublisherMatch(tbs=tbs[1], common_name=name.upper()),
            PublisherMatch(key=f"{one.name}-ca", eku=EKU),
            PublisherMatch(certificate=f"sha256:{signer(number).certificates[0]}"),
            PublisherMatch(common_name=name),
            PublisherMatch(**address),
            PublisherMatch(organization=subject["organization"]),
        ]
    return tuple(found)


def conditions() -> st.SearchStrategy[dict[str, object]]:
    """Return conditions of one rule."""
    digests = st.lists(
        st.builds(digest, st.sampled_from(("authenticode", "authenticode", "file")),
                  st.integers(0, 2)),
        min_size=1, max_size=3, unique=True,
    ).map(tuple)  # fmt: skip
    product = st.builds(
        ProductMatch,
        original_name=st.sampled_from(("", *(n.upper() for n in FILE_NAMES))),
        product=st.sampled_from(("", "", *PRODUCTS)),
        minimum_version=st.sampled_from(("", "2.0", "2.5.0.1")),
        maximum_version=st.sampled_from(("3.1", "9.9.9.9")),
    )
    publisher = st.sampled_from(_publisher_matches())
    several = st.builds(
        SignersMatch, least=st.just(1), of=st.lists(publisher, min_size=1, max_size=2).map(tuple)
    )
    paths = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2).map(tuple)
    return st.one_of(
        digests.map(lambda d: {"digest": d}),
        publisher.map(lambda p: {"publisher": p}),
        several.map(lambda s: {"signers": s}),
        st.tuples(publisher, product).map(lambda t: {"publisher": t[0], "product": t[1]}),
        product.map(lambda p: {"product": p}),
        paths.map(lambda p: {"path": p}),
        st.tuples(publisher, paths).map(lambda t: {"publisher": t[0], "path": t[1]}),
    )


def windows_rules() -> st.SearchStrategy[tuple[Rule, ...]]:
    """Return up to eight rules."""
    one = st.tuples(
        conditions(), st.sampled_from((Action.ALLOW, Action.DENY)), st.sampled_from(KINDS)
    )
    return st.lists(one, max_size=8).map(
        lambda drawn: tuple(
            Rule(**{"kind": kind, **asked, "id": f"rule-{n}", "action": action})  # type: ignore[arg-type]
            for n, (asked, action, kind) in enumerate(drawn)
        )
    )


def windows_subjects() -> st.SearchStrategy[Subject]:
    """Return files on Windows, of which everything is known."""
    return st.builds(
        _subject,
        path=st.sampled_from((*PLACES, *(place.upper() for place in PLACES))),
        kinds=st.sampled_from(_FILES),
        number=st.integers(0, 3),
        signers=st.lists(
            st.builds(signer, st.integers(0, 1), address=st.booleans(), eku=st.booleans()),
            max_size=2,
        ),
        name=st.sampled_from(("", *FILE_NAMES)),
        product=st.sampled_from(("", *PRODUCTS)),
        version=st.sampled_from(VERSIONS),
    )


def _subject(path, kinds, number, signers, name, product, version) -> Subject:  # type: ignore[no-untyped-def]
    return Subject(
        path=path,
        file_class=kinds[0],
        kind=kinds[1],
        digests=frozenset({digest("file", number), digest("authenticode", number)}),
        signers=tuple(signers),
        original_name=name,
        product=product,
        version=version,
        outcome=Outcome.ACCEPTED if signers else Outcome.REJECTED,
    )


def layered(rules: Sequence[Rule]) -> RuleSet:
    """Return a rule set of two layers: every other rule is the supplement's."""
    merged = rule_set(*rules)
    base, added = merged.layers[0], frozenset(rule.id for rule in rules[1::2])
    extra = Layer(name="added", version=2, id=guid("added"), rules=added)
    first = msgspec.structs.replace(base, rules=base.rules - added)
    return msgspec.structs.replace(merged, layers=(first, extra))


def allowed(rules: RuleSet, subject: Subject) -> bool:
    """Say whether we let it run."""
    return decide(Index(rules), subject, AT).outcome is Outcome.ACCEPTED


def without(rules: RuleSet, lost: frozenset[str]) -> RuleSet:
    """Return a rule set without the rules that a target lost."""
    kept = tuple(rule for rule in rules.rules if rule.id not in lost)
    return msgspec.structs.replace(rules, rules=kept)
