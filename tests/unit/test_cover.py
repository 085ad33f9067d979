"""The greedy cover: never dearer than the theorem says, tight where an equal would be wider."""

from __future__ import annotations

from fractions import Fraction
from itertools import chain, combinations

from hypothesis import given
from hypothesis import strategies as st

from signward.policy.rules.cover import Offer, cover

GROUPS = 6


def offers() -> st.SearchStrategy[list[Offer]]:
    one = st.builds(
        Offer,
        cost=st.integers(1, 5),
        rank=st.integers(0, 2),
        groups=st.sets(st.integers(0, GROUPS - 1)).map(lambda found: tuple(sorted(found))),
    )
    return st.lists(one, max_size=7)


def covered(chosen: list[Offer]) -> set[int]:
    return set(chain.from_iterable(offer.groups for offer in chosen))


def cheapest(weights: list[int], known: list[Offer]) -> int:
    """Return the least cost of covering whatever can be covered, by trying everything."""
    wanted = {g for g in covered(known) if weights[g]}
    every = chain.from_iterable(combinations(known, n) for n in range(len(known) + 1))
    return min(sum(o.cost for o in some) for some in every if wanted <= covered(list(some)))


@given(st.lists(st.integers(0, 9), min_size=GROUPS, max_size=GROUPS), offers())
def test_it_covers_all_it_can_within_its_bound(weights: list[int], known: list[Offer]) -> None:
    taken = list(cover(weights, known))
    wanted = {g for g in covered(known) if weights[g]}
    assert {g for _, fresh in taken for g in fresh} == wanted
    assert sum(len(fresh) for _, fresh in taken) == len(wanted), "each group is covered once"
    widest = max((sum(weights[g] for g in offer.groups) for offer in known), default=0)
    bound = sum(Fraction(1, n) for n in range(1, widest + 1)) * cheapest(weights, known)
    assert sum(known[index].cost for index, _ in taken) <= bound


@given(st.lists(st.integers(0, 9), min_size=GROUPS, max_size=GROUPS), offers())
def test_the_next_is_the_cheapest_there_is(weights: list[int], known: list[Offer]) -> None:
    left = {g for g, weight in enumerate(weights) if weight}
    for index, fresh in cover(weights, known):
        prices = {}
        for number, offer in enumerate(known):
            gain = sum(weights[g] for g in offer.groups if g in left)
            if gain:
                prices[number] = (Fraction(offer.cost, gain), offer.rank, number)
        assert prices[index] == min(prices.values())
        left -= set(fresh)


def test_equals_go_by_rank_then_order() -> None:
    known = [Offer(1, 2, (0,)), Offer(1, 0, (0,)), Offer(1, 0, (0,))]
    assert list(cover([3], known)) == [(1, (0,))]


def test_a_dear_wide_rule_gives_way_to_narrow_ones() -> None:
    known = [Offer(50, 0, (0, 1)), Offer(1, 1, (0,)), Offer(1, 1, (1,))]
    assert [index for index, _ in cover([5, 5], known)] == [1, 2]
    assert [index for index, _ in cover([5, 5], [known[0]._replace(cost=1), *known[1:]])] == [0]


def test_nothing_needed_takes_nothing() -> None:
    assert list(cover([0], [Offer(1, 0, (0,))])) == []
    assert list(cover([], [])) == []
