"""Show: what a file's signatures claim, beside the verdict on them."""

from __future__ import annotations

import os
from contextlib import suppress

from signward.errors import BadInputError, UnreadableError
from signward.findings import Code
from signward.formats import Describing, ParseOptions, peek_at, recognise, tree_format
from signward.policy.record import Record, record
from signward.state import Companions, SignedArtifact, Source, Verdict
from signward.verbs.attributes import form_beside
from signward.verbs.context import Context
from signward.verbs.verify import assess, assess_path, assess_tree
from signward.wire.companions import FolderCompanions
from signward.wire.source import open_source
from signward.wire.tree import FolderTree


def show(path: str | os.PathLike[str], context: Context) -> tuple[SignedArtifact | None, Record]:
    """Return the parsed artifact (None where there is none) and the verdict's record.

    Never raises for what the file is or holds.  The artifact's source is closed.
    """
    try:
        if os.path.isdir(path) and (told := _show_folder(path, context)) is not None:  # noqa: PTH112
            return told
        folder = os.path.dirname(os.fspath(path))  # noqa: PTH120 - paths stay strings
        with open_source(path) as source, FolderCompanions(folder) as companions:
            verdict = assess(source, context, companions)
            artifact = _beside(source, verdict) or parsed(source, companions)
            answer = artifact, record(verdict, size=source.length)
            source.check_unchanged()
            return answer
    except UnreadableError:
        return None, record(assess_path(path, context))


def _show_folder(
    path: str | os.PathLike[str], context: Context
) -> tuple[SignedArtifact | None, Record] | None:
    """Do so for a folder that is one artifact; None for one that is none."""
    with FolderTree(path) as tree:
        form = tree_format(tree)
        if form is None:
            return None
        verdict = assess_tree(form, tree, context)
        artifact: SignedArtifact | None = None
        with suppress(BadInputError, RecursionError):
            artifact = form.parse_tree(tree, ParseOptions())
            if isinstance(form, Describing):
                artifact = form.with_facts(artifact)
        tree.check_unchanged()
        return artifact, record(verdict, kind=form.name)


def _beside(source: Source, verdict: Verdict) -> SignedArtifact | None:
    """Return the artifact as the system's own signature has it, where the verdict is by that."""
    form = form_beside(source, Code.UNSIGNED)
    if form is None or form.name != verdict.format:
        return None
    with suppress(BadInputError):
        return form.parse(source, ParseOptions())
    return None


def parsed(source: Source, companions: Companions | None = None) -> SignedArtifact | None:
    """Return the artifact in ``source``; None for no known format or broken bytes."""
    peek = peek_at(source)
    signable = recognise(peek)
    if signable is None:
        return None
    options = ParseOptions(extension=peek.extension, companions=companions)
    with suppress(BadInputError, RecursionError):
        artifact = signable.parse(source, options)
        described: SignedArtifact = (
            signable.with_facts(artifact) if isinstance(signable, Describing) else artifact
        )
        return described
    return None
