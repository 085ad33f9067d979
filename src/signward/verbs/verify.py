"""Verify: bytes to verdict.  `assess` explains, `verify` raises.

The stages in order: recognise, parse, compute slots, check integrity, judge trust,
evaluate policy.  Nothing here knows a format or an envelope by name.
"""

from __future__ import annotations

import os

from signward.errors import (
    BadInputError,
    IndeterminateError,
    RejectedError,
    UnreadableError,
)
from signward.findings import Code, Effect, Finding
from signward.formats import (
    Format,
    ParseOptions,
    Peek,
    TreeFormat,
    peek_at,
    recognise,
    tree_format,
)
from signward.integrity import check_listed, check_regions, check_seals, wanted_slots
from signward.inventory.classify import KINDS, classify
from signward.policy.case import BY_CATALOG, Case
from signward.policy.evaluate import evaluate
from signward.state import (
    Accepted,
    Companions,
    Outcome,
    SignedArtifact,
    Source,
    Tree,
    Verdict,
    Wanted,
)
from signward.verbs.attested import attested_beside
from signward.verbs.attributes import form_beside
from signward.verbs.blocking import LISTED_SLOTS, blocked_by
from signward.verbs.catalogs import vouched_by
from signward.verbs.context import Context
from signward.verbs.feeds import file_revoked, listed_content, revoked_by_feed
from signward.verbs.firmware import (
    beyond_kek,
    listed_images,
    refused_by_firmware,
    replayed,
    signed_as,
)
from signward.verbs.stages import is_part, judge_signatures, nested_findings
from signward.verbs.tickets import ticket_findings
from signward.wire.companions import FolderCompanions
from signward.wire.source import open_source
from signward.wire.tree import FolderTree
from signward.wire.zip import read_directory


def verify(path: str | os.PathLike[str], context: Context) -> Accepted:
    """Return ``path``'s verdict if the asked stage was reached.

    Raises ``RejectedError`` or ``IndeterminateError``, each carrying the verdict.
    """
    return require(assess_path(path, context))


def require(verdict: Verdict) -> Accepted:
    """Return the verdict as accepted, or raise what it is instead."""
    if verdict.outcome is Outcome.ACCEPTED:
        return Accepted(verdict=verdict)
    message = f"{verdict.subject}: {verdict.outcome}, {verdict.cause}"
    error = RejectedError if verdict.outcome is Outcome.REJECTED else IndeterminateError
    raise error(verdict, message)


def assess_path(path: str | os.PathLike[str], context: Context, name: str = "") -> Verdict:
    """Return the verdict on a file or bundle; never raises for what it is or holds.

    ``name`` is a folder's for messages, where it stands in for another.
    """
    try:
        if os.path.isdir(path) and (verdict := _assess_folder(path, context, name)) is not None:  # noqa: PTH112
            return verdict
        folder = os.path.dirname(os.fspath(path))  # noqa: PTH120 - paths stay strings
        with open_source(path) as source, FolderCompanions(folder) as companions:
            verdict = assess(source, context, companions)
            source.check_unchanged()
            return verdict
    except UnreadableError as error:
        return unreadable(os.fspath(path), error, context)


def _assess_folder(path: str | os.PathLike[str], context: Context, name: str) -> Verdict | None:
    """Return the verdict on a folder that is one artifact; None for one that is none."""
    with FolderTree(path, name) as tree:
        form = tree_format(tree)
        if form is None:
            return None
        verdict = assess_tree(form, tree, context)
        tree.check_unchanged()
        return verdict


def assess_tree(form: TreeFormat, tree: Tree, context: Context) -> Verdict:
    """Return the verdict on a folder of one format; never raises for what is in it."""
    try:
        artifact = form.parse_tree(tree, ParseOptions())
        verdict = _assess_artifact(form, artifact, context, catalogs=False)
    except BadInputError as error:
        return _failed(tree.name, form.name, (error.finding,), context)
    except RecursionError:
        return _failed(tree.name, form.name, (_too_deep(tree.name),), context)
    if not context.asked and context.rules is None:
        return verdict
    from signward.verbs.ruling import by_rules  # for few runs only

    return by_rules(verdict, artifact.source, form.name, context)


def unreadable(path: str, error: UnreadableError, context: Context) -> Verdict:
    """Return the verdict on a file that could not be read to its end."""
    return _failed(path, "", (error.finding,), context)


def assess(source: Source, context: Context, companions: Companions | None = None) -> Verdict:
    """Return the verdict on a source; never raises for bad bytes or a bad signature.

    ``companions`` are the files beside it, for manifests that speak of them.

    Raises ``UnreadableError`` when the source changes while it is read.
    """
    if source.length == 0:
        listed = _listed(source, (), context)
        if listed is not None:
            return listed
        return _vouched(_failed(source.name, "", (_empty(source),), context), source, context)
    peek = peek_at(source)
    signable = recognise(peek)
    if signable is None:
        verdict = _unrecognised(source, peek, context)
    else:
        asked = parse_options(context, peek.extension, companions)
        verdict = assess_as(signable, source, context, asked)
    beside: Format | None = form_beside(source, verdict.cause)
    if beside is None and context.rules is not None:
        beside = attested_beside(source, verdict.cause, companions)
    if beside is not None:
        verdict = assess_as(beside, source, context)
    verdict = _vouched(verdict, source, context)
    if not context.asked and context.rules is None:
        return verdict
    from signward.verbs.ruling import by_rules  # for few runs only

    return by_rules(verdict, source, classify(peek), context)


def _vouched(verdict: Verdict, source: Source, context: Context) -> Verdict:
    """Return the verdict with the word of the system's packages, where they were asked for."""
    if context.options.packages is None:
        return verdict
    from signward.verbs.vouching import vouched  # for few runs only

    return vouched(verdict, source, context)


def assess_as(
    signable: Format, source: Source, context: Context, options: ParseOptions | None = None
) -> Verdict:
    """Return the verdict on a source taken as of one format (see `assess`)."""
    try:
        artifact = signable.parse(source, options or ParseOptions())
        return _assess_artifact(signable, artifact, context)
    except BadInputError as error:
        finding = error.finding
    except RecursionError:
        finding = _too_deep(source.name)
    return _failed(source.name, signable.name, (*file_revoked(source, context), finding), context)


def parse_options(
    context: Context, extension: str = "", companions: Companions | None = None
) -> ParseOptions:
    """Return what a run asks of a file of this ending, with the files beside it."""
    return ParseOptions(
        extension=extension,
        companions=companions,
        oldest=context.options.oldest_sdk,
        newest=context.options.newest_sdk,
        stamp=context.options.source_stamp,
    )


def _assess_artifact(
    signable: Format, artifact: SignedArtifact, context: Context, *, catalogs: bool = True
) -> Verdict:
    """Judge a parsed artifact; ``catalogs`` may vouch for it where it has no signature."""
    source = artifact.source
    wanted = wanted_slots(artifact)
    listed = (LISTED_SLOTS if context.block_lists else frozenset()) | listed_content(context)
    listed |= listed_images(context)
    ruled = _ruled_content(context)
    told = wanted | ruled
    computed = signable.digests(artifact, told | listed) if told or listed else {}
    judged = judge_signatures(artifact, computed, context)
    findings = (
        *check_seals(artifact, computed),
        *artifact.findings,
        *check_listed(artifact, computed),
        *check_regions(artifact),
        *ticket_findings(artifact, context),
        *nested_findings(artifact, context),
    )
    findings = (*findings, *_said_elsewhere(source, context))
    catalogued: dict[str, str] = {}
    if not judged and catalogs:
        vouched = vouched_by(signable, artifact, source, context)
        if vouched:
            # Octets that a list names need not be of a kind whose own signature can be judged.
            known = (f for f in findings if f.code is not Code.UNSUPPORTED_KIND)
            judged, findings = vouched.signatures, (*known, *vouched.findings)
            catalogued = vouched.facts
    findings = (
        *revoked_by_feed(artifact, judged, computed, context),
        *blocked_by(signable, artifact, judged, computed, context),
        *refused_by_firmware(artifact, judged, computed, context),
        *replayed(artifact, judged, context),
        *beyond_kek(judged),
        *findings,
    )
    case = Case(
        subject=source.name,
        format=signable.name,
        judged=judged,
        findings=findings,
        at=context.at,
        vouched=BY_CATALOG if judged and not artifact.signatures else "",
        every=artifact.every,
        facts={**artifact.facts, **_generation(artifact, context), **signed_as(judged),
               **catalogued},
        digests={f"{slot}-{name}": value for (slot, name), value in computed.items()
                 if (slot, name) in told and not is_part(slot)},
    )  # fmt: skip
    return evaluate(case, context.policy)


def _ruled_content(context: Context) -> Wanted:
    """Return the content digests that the run's rules or its caller ask for."""
    if not context.asked:
        return frozenset()
    from signward.verbs.ruling import asked_content

    return asked_content(context.asked)


def _generation(artifact: SignedArtifact, context: Context) -> dict[str, str]:
    """Return which Windows generation the verdict speaks for, where it is about one."""
    kernel = context.profile_for(artifact).kernel
    return {"windows-generation": context.policy.trust.windows_generation} if kernel else {}


def _empty(source: Source) -> Finding:
    return Finding(
        code=Code.MALFORMED,
        effect=Effect.REJECT,
        subject=source.name,
        found="an empty file",
        required="content: nothing can be signed or run here",
    )


def _unrecognised(source: Source, peek: Peek, context: Context) -> Verdict:
    """Answer for bytes of no known format: unsigned, or of a kind not judged yet."""
    revoked = (*file_revoked(source, context), *_said_elsewhere(source, context))
    listed = _listed(source, revoked, context)
    if listed is not None:
        return listed
    kind = classify(peek)
    if kind == "zip":
        # An archive that cannot be read may be of any kind: malformed, not unsigned.
        try:
            read_directory(source)
        except BadInputError as error:
            return _failed(source.name, "", (*revoked, error.finding), context)
    if not KINDS[kind].signable:
        findings = (*revoked, *_homeless(kind, source.name))
        return evaluate(
            Case(subject=source.name, format="", judged=(), findings=findings, at=context.at),
            context.policy,
        )
    finding = Finding(
        code=Code.UNSUPPORTED_KIND,
        effect=Effect.UNKNOWN,
        subject=source.name,
        found=KINDS[kind].text,
        required="a format this version can judge",
        hint="it may be signed; this version cannot tell",
    )
    return _failed(source.name, "", (*revoked, finding), context)


def _listed(source: Source, revoked: tuple[Finding, ...], context: Context) -> Verdict | None:
    """Return the verdict on a file that a catalog lists by all its octets; None on others."""
    vouched = vouched_by(None, None, source, context)
    if vouched is None:
        return None
    case = Case(
        subject=source.name,
        format="",
        judged=vouched.signatures,
        findings=(*revoked, *vouched.findings),
        at=context.at,
        vouched=BY_CATALOG,
        facts=vouched.facts,
    )
    return evaluate(case, context.policy)


def _said_elsewhere(source: Source, context: Context) -> tuple[Finding, ...]:
    """Return what digest lists and devices say of a file of this name."""
    said: tuple[Finding, ...] = ()
    if context.options.digest_lists:
        from signward.verbs.digest_lists import said_by_lists  # for few runs only

        said += tuple(said_by_lists(source, context))
    if context.options.device_claims:
        from signward.verbs.device_claims import said_by_devices  # for few runs only

        said += tuple(said_by_devices(source, context))
    return said


def _homeless(kind: str, name: str) -> tuple[Finding, ...]:
    """Say of AppleScript that no format of it has a place for a signature."""
    if kind != "applescript":
        return ()
    return (
        Finding(
            code=Code.UNSIGNED,
            effect=Effect.NOTE,
            subject=name,
            found="a script, which has no place for a signature of its own",
            required="one beside it, or the script as an application",
            hint="signward sign --detached writes one that verify --detached judges",
        ),
    )


def _failed(name: str, signable: str, findings: tuple[Finding, ...], context: Context) -> Verdict:
    case = Case(subject=name, format=signable, judged=(), findings=findings, at=context.at)
    return evaluate(case, context.policy)


def _too_deep(name: str) -> Finding:
    return Finding(
        code=Code.LIMIT_EXCEEDED,
        effect=Effect.REJECT,
        subject=name,
        found="structures nested too deeply",
        required="less",
    )
