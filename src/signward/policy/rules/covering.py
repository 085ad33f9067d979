"""Which rules match all that another one matches: found by values they share, not by pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from signward.policy.rules.index import Slot, ways
from signward.policy.rules.matching import NAMES, fold_name, version_of
from signward.policy.rules.model import (
    CONDITIONS,
    Conditions,
    Material,
    ProductMatch,
    PublisherMatch,
    Rule,
)
from signward.policy.rules.paths import folded_path, path_pattern, prefixes_of

Covers = Callable[[Conditions, Conditions], bool]
"""Says of one condition whether the first's holds wherever the second's does."""

_LIMIT = 256
"""Rules looked at for each: beyond that a policy has so many of one shape that one is missed."""

_HIGHEST = "65535.65535.65535.65535"


class Coverings:
    """Rules by the values they ask for."""

    def __init__(self, rules: Sequence[Rule], keys: Mapping[str, Material]) -> None:
        self._keys = keys
        self._by_slot: dict[Slot, list[Rule]] = defaultdict(list)
        for rule in rules:
            for slot in min(ways(rule, keys), key=len, default=()):
                self._by_slot[slot].append(rule)

    def of(self, rule: Rule) -> Iterator[Rule]:
        """Yield other rules that match whatever ``rule`` matches; of two alike only the first."""
        seen = 0
        for slot in dict.fromkeys(self._slots(rule)):
            for other in self._by_slot.get(slot, ()):
                seen += 1
                if seen > _LIMIT:
                    return
                if other is rule or not covers(other, rule):
                    continue
                if other.id < rule.id or not covers(rule, other):
                    yield other

    def _slots(self, rule: Rule) -> Iterator[Slot]:
        for way in ways(rule, self._keys):
            yield from way
        for path in rule.path:
            windows = path_pattern(path).windows
            folded = folded_path(path) if windows else path
            for prefix in prefixes_of(folded, "\\" if windows else "/"):
                yield ("windows" if windows else "path"), prefix


def covers(broad: Conditions, narrow: Conditions) -> bool:
    """Say whether ``broad`` surely matches everything that ``narrow`` does."""
    return all(
        not getattr(broad, field) or (getattr(narrow, field) and _COVERS[field](broad, narrow))
        for field in CONDITIONS
    )


def _publisher(broad: Conditions, narrow: Conditions) -> bool:
    return _publisher_covers(broad.publisher, narrow.publisher)


def _publisher_covers(broad: PublisherMatch | None, narrow: PublisherMatch | None) -> bool:
    if broad is None or narrow is None:
        return broad is None
    return all(
        not getattr(broad, field)
        or getattr(broad, field).casefold() == getattr(narrow, field).casefold()
        for field in broad.__struct_fields__
    )


def _product(broad: Conditions, narrow: Conditions) -> bool:
    return _product_covers(broad.product, narrow.product)


def _product_covers(broad: ProductMatch | None, narrow: ProductMatch | None) -> bool:
    if broad is None or narrow is None:
        return broad is None
    for field in NAMES:
        wanted = getattr(broad, field)
        if wanted and fold_name(field, wanted) != fold_name(field, getattr(narrow, field)):
            return False
    if broad.minimum_version and not narrow.minimum_version and not narrow.maximum_version:
        return False  # a file without a version meets the one and not the other
    lowest = version_of(broad.minimum_version) <= version_of(narrow.minimum_version)
    return lowest and version_of(narrow.maximum_version or _HIGHEST) <= version_of(
        broad.maximum_version or _HIGHEST
    )


def _path(broad: Conditions, narrow: Conditions) -> bool:
    return all(any(_path_covers(one, path) for one in broad.path) for path in narrow.path)


def _path_covers(broad: str, narrow: str) -> bool:
    """Say it of two patterns: equal ones, a path that fits, and all below a folder."""
    if broad == narrow:
        return True
    pattern = path_pattern(broad)
    if pattern.windows != path_pattern(narrow).windows:
        return False
    if "*" not in narrow and "%" not in narrow:
        return pattern.fits(narrow)
    if not broad.endswith("**") or broad.count("*") != 2:
        return False
    whole = folded_path if pattern.windows else str
    return whole(narrow).startswith(whole(broad[:-2]))


def _origin(broad: Conditions, narrow: Conditions) -> bool:
    if broad.origin is None or narrow.origin is None:
        return broad.origin is None
    same_name = broad.origin.name in ("", narrow.origin.name)
    same_repository = broad.origin.repository in ("", narrow.origin.repository)
    return broad.origin.kind == narrow.origin.kind and same_name and same_repository


def _among(field: str) -> Covers:
    return lambda broad, narrow: set(getattr(narrow, field)) <= set(getattr(broad, field))


_COVERS: Mapping[str, Covers] = {
    "publisher": _publisher,
    "signers": lambda broad, narrow: broad.signers == narrow.signers,
    "identity": lambda broad, narrow: broad.identity == narrow.identity,
    "product": _product,
    "path": _path,
    "origin": _origin,
    **{field: _among(field) for field in ("digest", "catalog", "kind", "hosts")},
}
