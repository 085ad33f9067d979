"""Covering what is needed with few rules: weighted greedy set cover.

The best of all covers is NP-hard to find; taking whatever costs least for each file newly covered
costs at most 1 + 1/2 + ... + 1/n times the best, n being the files of the widest offer (Chvatal,
"A greedy heuristic for the set-covering problem", 1979).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple


class Offer(NamedTuple):
    """Something that covers: what it costs, which of equals goes first, and the groups it covers.

    ``groups`` are indexes of the weights that `cover` is given; ``cost`` is at least 1.
    """

    cost: int
    rank: int
    groups: tuple[int, ...]


def cover(weights: Sequence[int], offers: Sequence[Offer]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the offers to take, by their indexes, each with the groups it is the first to cover.

    ``weights`` says how many files each group stands for.  Equal prices are settled by
    ``rank``, then by the order of the offers, so that the same question has the same answer.
    """
    open_groups = {group for group, weight in enumerate(weights) if weight > 0}
    heap: list[tuple[Fraction, int, int]] = []
    for index, offer in enumerate(offers):
        _push(heap, index, offer, sum(weights[group] for group in offer.groups))
    while heap and open_groups:
        price, rank, index = heapq.heappop(heap)
        offer = offers[index]
        fresh = tuple(group for group in offer.groups if group in open_groups)
        gain = sum(weights[group] for group in fresh)
        if gain and Fraction(offer.cost, gain) > price:  # others took some of it meanwhile
            heapq.heappush(heap, (Fraction(offer.cost, gain), rank, index))
        elif gain:
            open_groups.difference_update(fresh)
            yield index, fresh


def _push(heap: list[tuple[Fraction, int, int]], index: int, offer: Offer, gain: int) -> None:
    if gain:
        heapq.heappush(heap, (Fraction(offer.cost, gain), offer.rank, index))
