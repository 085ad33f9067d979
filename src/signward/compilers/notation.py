"""The Notary Project's notation: trust policy and trust stores.

Spec: Notary Project trust-store-trust-policy.md 1.1.  A key of [keys] is a CA's certificate in a
trust store, its signers all under it or those with the given subject.  The target compares a
subject's values exactly, rules do so without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import msgspec

from signward.compilers import Compiled, File
from signward.compilers._images import IMAGES, image_rules, lose_rest, losses
from signward.compilers._lossy import Ledger
from signward.compilers._notary import Document, Notary
from signward.policy.rules.model import Name, RuleSet, Strict


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.notation]``: ``tsa`` names certificates of [keys] that time-stamp."""

    tsa: tuple[Name, ...] = ()


class Notation:
    """Compiles rules for container images to a trust policy."""

    target = "notation"
    title = "notation: trust policy and trust stores"
    spec = "Notary Project trust store and trust policy 1.1"
    governs = IMAGES
    losses: ClassVar[Mapping[str, str]] = losses("default", "reach")
    settings = Settings
    checked = ("executed", "notation's library, with a registry of signed images")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return trustpolicy.json and the trust stores it names."""
        ledger = Ledger(self.target)
        made = Notary(rules, settings.tsa, ledger).document(image_rules(rules, ledger))
        lose_rest(rules, made.kept, ledger)
        ledger.lose_requirements(
            rules, (o.rule for o in made.kept), checked=frozenset({"revocation", "timestamp"})
        )
        return ledger.compiled(_files(made))


def _files(made: Document) -> Iterator[File]:
    document = {"version": "1.0", "trustPolicies": list(made.statements)}
    content = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    yield File(name="trustpolicy.json", content=content,
               deploy="notation policy import, or to notation's configuration folder")  # fmt: skip
    for name, pem in made.stores.items():
        path = f"truststore/x509/{name}/{name.rpartition('/')[2]}.pem"
        yield File(name=path, content=pem.encode(), deploy="beside the policy, by the same path")


COMPILER = Notation()
