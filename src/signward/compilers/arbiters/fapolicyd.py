"""fapolicyd's answer: the first rule that matches decides.

Judged is what the daemon sees when a program is started (``execute``), a library is loaded
(``open``), or a script is run, by itself (``execute``) or by its interpreter (``open``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from signward.compilers._fapolicyd import LANGUAGES, LIBRARY, TYPES
from signward.compilers._fapolicyd_read import Line, Policy, read_files
from signward.policy.rules.subject import Subject

_PERMS = {"executable": ("execute",), "library": ("open",), "script": ("open", "execute")}
_PACKAGES = {"rpmdb": "rpm", "debdb": "deb"}


class FapolicydArbiter:
    """The arbiter."""

    target = "fapolicyd"

    def judge(self, files: Mapping[str, bytes], subject: Subject) -> bool | None:
        """Say whether the subject runs; None where rules ask about the process that runs it."""
        if subject.file_class not in _PERMS:
            return None
        policy = read_files(files)
        if policy.conf.get("permissive") == "1":
            return True
        answers = [_decided(policy, subject, perm) for perm in _PERMS[subject.file_class]]
        return None if None in answers else all(answers)


def _decided(policy: Policy, subject: Subject, perm: str) -> bool | None:
    for line in policy.lines:
        if line.perm not in {perm, "any"} or "pattern" in line.subject:
            continue  # a pattern speaks of how a program starts, not of which
        if "all" not in line.subject:
            return None
        if _matches(policy, line, subject):
            return line.lets_in
    return True  # no opinion is leave: measured with 1.1.7


def _matches(policy: Policy, line: Line, subject: Subject) -> bool:
    return all(_holds(policy, name, values, subject) for name, values in line.object.items())


def _holds(policy: Policy, name: str, values: tuple[str, ...], subject: Subject) -> bool:
    if name == "all":
        return True
    if name == "path":
        return any(_path_fits(value, subject.path) for value in values)
    if name == "dir":
        return any(subject.path.startswith(value) for value in values)
    if name == "ftype":
        return type_of(subject) in values
    if name == "trust":
        return _is_trusted(policy, subject) is (values == ("1",))
    if name.lower() in {"sha256hash", "file_hash"}:
        return any(f"file:sha256:{value}" in subject.digests for value in values)
    return False  # a device: nothing of ours says one


def type_of(subject: Subject) -> str:
    """Return a MIME type that such a file has."""
    if subject.kind == "jar":
        return LIBRARY[1]
    return (LANGUAGES.get(subject.kind) or TYPES[subject.file_class])[0]


def _path_fits(value: str, path: str) -> bool:
    if not value.startswith("glob:"):
        return value == path
    return bool(_glob(value.removeprefix("glob:")).match(path))


def _glob(glob: str) -> re.Pattern[str]:
    """Translate fnmatch(3) with FNM_PATHNAME and FNM_PERIOD, without bracket expressions."""
    found: list[str] = []
    for word in re.findall(r"\\.|.", glob, re.DOTALL):
        at_start = not found or found[-1] == "/"
        dotless = r"(?!\.)" if at_start else ""
        if word == "*":
            found.append(dotless + "[^/]*")
        elif word == "?":
            found.append(dotless + "[^/]")
        else:
            found.append(re.escape(word[-1]))
    return re.compile("".join(found) + r"\Z", re.DOTALL)


def _is_trusted(policy: Policy, subject: Subject) -> bool:
    kinds = {_PACKAGES.get(database) for database in policy.databases}
    if any(origin.kind in kinds for origin in subject.origins):
        return True
    entry = policy.trusted.get(subject.path)
    if entry is None or policy.conf.get("integrity") != "sha256":
        return entry is not None  # by default the path alone is looked at
    return f"file:sha256:{entry[1]}" in subject.digests


ARBITER = FapolicydArbiter()
