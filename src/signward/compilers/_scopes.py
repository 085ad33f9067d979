"""Scopes: image names as prefixes, each the whole of what stands below it (policy.json, OpenShift).

``registry.example`` holds every image of that registry; ``registry.example/team`` the repository
of that name and all below it.  Of the scopes that hold an image only the longest speaks, so what
rules of wider scopes let in is said again in narrower ones.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence

from signward.compilers import Towards
from signward.compilers._images import ANY, Images, is_namespace, is_repository
from signward.compilers._lossy import Ledger


def scope_of(pattern: str) -> str | None:
    """Return the scope that holds the images of ``pattern``, empty for every image, or None."""
    if pattern == ANY:
        return ""
    for ending in ("/**", "/*"):
        stem = pattern.removesuffix(ending)
        if stem != pattern:
            return stem if is_namespace(stem) else None
    return pattern if is_repository(pattern) else None


def wider(scope: str) -> Iterator[str]:
    """Yield the scopes that hold ``scope``, the longest first, the empty one last."""
    name, at, _ = scope.partition("@")
    if at:
        yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
    if scope:
        yield ""


def order(scopes: Iterable[str]) -> list[str]:
    """Return scopes so that wider ones come before those they hold."""
    return sorted(scopes, key=lambda scope: (len(scope), scope))


def lose_reach(kept: Sequence[Images], ledger: Ledger) -> None:
    """Note where a scope holds more than its rule's pattern and no like rule says so as well."""
    like: dict[Hashable, set[str]] = {}
    for one in kept:
        like.setdefault(_kind(one), set()).add(one.pattern)
    for one in kept:
        scope = scope_of(one.pattern)
        if one.digests or not scope or _whole(scope, like[_kind(one)]):
            continue
        towards = Towards.STRICTER if one.denies else Towards.LOOSER
        text = f"scope {scope} holds the repository of that name and all below it"
        ledger.lose("reach", one.rule.id, text, towards)


def _kind(one: Images) -> Hashable:
    return (one.denies, one.least, one.authorities, one.rule.requires, one.digests)


def _whole(scope: str, patterns: Collection[str]) -> bool:
    """Say whether the patterns together are all that the scope holds; a registry is no image."""
    around = [w for w in wider(scope) if w]
    if ANY in patterns or any(f"{w}/**" in patterns for w in around):
        return True
    itself = "/" not in scope or scope in patterns or f"{scope.rpartition('/')[0]}/*" in patterns
    return itself and f"{scope}/**" in patterns
