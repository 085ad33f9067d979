"""Santa's answer: the most specific rule of a program, else what the client's mode says.

Follows santad's ``SNTPolicyProcessor`` and the order of its ``SNTRuleTable``: CDHASH, BINARY,
SIGNINGID, CERTIFICATE, TEAMID.  A signature counts for what a validated one is worth; of CEL, our
guards are evaluated.  What macOS itself brings is let run by santad and not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from signward.compilers._santa import ALLOWING, Key, SantaRule, guarded, read_files
from signward.errors import PolicyError
from signward.policy.rules.subject import Subject


class SantaArbiter:
    """Judges programs; everything else is none of Santa's business."""

    target = "santa"

    def judge(self, files: Mapping[str, bytes], subject: Subject) -> bool | None:
        """Say whether Santa lets it run.  Raises ``PolicyError`` for CEL that is no guard."""
        if subject.file_class != "executable":
            return None
        policy = read_files(files)
        for key in identifiers(subject):
            if key in policy.rules:
                return _decide(policy.rules[key], subject)
        return policy.mode == "MONITOR"


def identifiers(subject: Subject) -> Iterator[Key]:
    """Yield what Santa looks a program up by, most specific first."""
    values = {text.rpartition(":")[0]: text.rpartition(":")[2] for text in subject.digests}
    for kind, rule_type in (("cdhash:sha256", "CDHASH"), ("file:sha256", "BINARY")):
        if kind in values:
            yield rule_type, values[kind]
    if not subject.signers:
        return
    signer = subject.signers[0]
    if signer.team_id and subject.bundle_id:
        yield "SIGNINGID", f"{signer.team_id}:{subject.bundle_id}"
    if signer.certificates:
        yield "CERTIFICATE", signer.certificates[0]
    if signer.team_id:
        yield "TEAMID", signer.team_id


def _decide(rule: SantaRule, subject: Subject) -> bool:
    if rule.policy != "CEL":
        return rule.policy in ALLOWING
    denied = guarded(rule.cel_expr)
    if denied is None:
        raise PolicyError("Santa rule", "CEL of another kind", "a guard")
    return not any(_meets(key, subject) for key in denied)


def _meets(key: Key, subject: Subject) -> bool:
    team = subject.signers[0].team_id if subject.signers else ""
    if key[0] == "TEAMID":
        return team == key[1]
    return bool(team) and key[1] == f"{team}:{subject.bundle_id}"


ARBITER = SantaArbiter()
