"""What RPM's database knows, and who stands for it: signed headers, judged by a keyring.

A header in the database is the package's own, and so is its signature: a file that the header
lists by digest is vouched for by whoever signed the package.  The database itself is no
evidence, and neither are the keys in it: whoever could change a file could have changed both.
Keys are those of the caller's ``--keyring``.

Not evidence either: signatures over header and payload (the payload is not there any more), and
files that a header lists by MD5 or SHA-1.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator

from signward.errors import BadInputError
from signward.formats._rpm_files import Files, digest_of, read_files
from signward.formats._rpm_installed import installed_artifact, installed_digests
from signward.formats.rpm import ARCHITECTURE, NAME, version_of
from signward.frozen import replace
from signward.integrity import wanted_slots
from signward.inventory.packages import (
    FILE,
    FOLDER,
    LINK,
    OTHER,
    Entry,
    Holding,
    Package,
    Warrant,
)
from signward.inventory.packages.rpmdb import database_of, read_headers
from signward.policy.settings import Policy, SignatureRule
from signward.state import Stage
from signward.verbs.context import Context
from signward.verbs.stages import judge_signatures
from signward.wire.rpm import Header

_WEAK = frozenset({"md5", "sha1"})
_KEYS = "gpg-pubkey"
"""What the database calls the keys it holds: they are no packages."""


def read_rpmdb(root: str, context: Context) -> tuple[tuple[Holding, ...], tuple[str, ...]]:
    """Return what the packages of a system hold, and what could not be read."""
    path, trouble = database_of(root)
    if path is None:
        return (), (trouble,) if trouble else ()
    judging = _judging(context)
    holdings, troubles = list[Holding](), list[str]()
    try:
        for header in read_headers(path):
            if header.text(NAME) == _KEYS:
                continue
            try:
                holdings.append(_holding(header, str(path), judging))
            except BadInputError as error:
                troubles.append(str(error))
    except BadInputError as error:
        troubles.append(str(error))
    return tuple(holdings), tuple(troubles)


def _judging(context: Context) -> Context:
    """Return what headers are judged with: the caller's instant, strictness and keyrings."""
    policy = Policy(stage=Stage.TRUSTED, signatures=SignatureRule.ANY, trust=context.policy.trust)
    return Context(replace(context.options, at=context.at, policy=policy))


def _holding(header: Header, path: str, context: Context) -> Holding:
    files = read_files(header)
    package = Package(
        name=header.text(NAME) or "", version=version_of(header),
        architecture=header.text(ARCHITECTURE) or "",
    )  # fmt: skip
    return Holding(
        package=package,
        entries=tuple(_entries(files)),
        warrant=_warrant(header, path, context),
        facts={"header-sha256": hashlib.sha256(header.signed).hexdigest()},
    )


def _warrant(header: Header, path: str, context: Context) -> Warrant:
    """Return who signed a header, judged."""
    artifact = installed_artifact(header, path)
    computed = installed_digests(artifact, wanted_slots(artifact))
    return Warrant(source=path, signatures=judge_signatures(artifact, computed, context))


def _entries(files: Files) -> Iterator[Entry]:
    """Yield what a package brings; not what it only owns (logs), nor files by weak digests."""
    for file in files.files:
        if file.ghost:
            continue
        is_file = stat.S_ISREG(file.mode)
        if is_file and (files.algorithm in _WEAK or not file.digest):
            continue
        yield Entry(
            path=file.shown,
            kind=_kind(file.mode),
            mode=stat.S_IMODE(file.mode),
            size=file.length if is_file else 0,
            algorithm=files.algorithm if is_file else "",
            digest=digest_of(file, files.algorithm) if is_file else b"",
            target=file.link.decode("utf-8", "backslashreplace"),
            config=file.config,
        )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFREG: FILE, stat.S_IFLNK: LINK, stat.S_IFDIR: FOLDER}
    return kinds.get(stat.S_IFMT(mode), OTHER)
