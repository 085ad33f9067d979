"""RFC 6962 hashes: against the recursive definition and the RFC's own root of nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.authority.log.tree import EMPTY_ROOT, Frontier, leaf_hash
from tests.builders.logs import root


def test_the_empty_tree() -> None:
    assert Frontier().root == EMPTY_ROOT == root([])


@given(st.lists(st.binary(max_size=9), max_size=80), st.integers(0, 80))
def test_a_tree_grown_in_two_batches_has_the_defined_root(entries: list[bytes], cut: int) -> None:
    leaves = [leaf_hash(entry) for entry in entries]
    grown = Frontier().extended(leaves[:cut]).extended(leaves[cut:])
    assert grown.size == len(leaves)
    assert grown.root == root(leaves)
    assert Frontier.from_bytes(grown.size, grown.to_bytes()) == grown


@pytest.mark.parametrize(("size", "octets"), [(1, 0), (3, 32), (-1, 0), (2, 33)])
def test_hashes_that_do_not_fit_the_size_are_refused(size: int, octets: int) -> None:
    with pytest.raises(ValueError, match="octets of hashes"):
        Frontier.from_bytes(size, bytes(octets))
