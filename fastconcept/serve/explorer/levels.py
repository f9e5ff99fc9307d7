"""Steps through the hierarchy that are worth a click: neither one node wide nor thousands."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...concepts.bank import ConceptBank
from ...saliency.survey import BankScores

SHARE = 0.25  # of what lies below a concept, at most, in each of the concepts of the next level
SMALL = 0.01  # of it; concepts that hold less come after the others, or the broadest level would be one of oddities


def best_first(bank: ConceptBank, node: int | None, scores: BankScores) -> list[int]:
    """The next level below a concept, the concepts that a photograph shows best first."""
    sizes = np.ones(len(bank)) if bank.taxonomy is None else bank.taxonomy.subtree_sizes
    least = SMALL * (len(bank) if node is None else int(sizes[node]))
    return sorted(next_level(bank, node), key=lambda row: (sizes[row] < least, -scores.scores[row]))


@lru_cache(4096)
def next_level(bank: ConceptBank, node: int | None) -> tuple[int, ...]:
    """The highest concepts below a concept, or below all roots, that hold at most a quarter of what lies below it.

    WordNet has steps that say nothing: nearly all things are physical entities, objects, and wholes. They are passed
    over; all that is below them is below a concept of the level.

    Parameters
    ----------
    bank : ConceptBank
    node : int or None
        Row of the bank; None stands above all roots.

    Returns
    -------
    tuple of int
        Rows of the bank, ascending; empty below a concept without sub-concepts. In a bank of phrases, all of them.

    Examples
    --------
    >>> bank = ConceptBank(np.eye(2), phrases=["a red ball", "a blue ball"])
    >>> next_level(bank, None), next_level(bank, 0)
    ((0, 1), ())
    """
    taxonomy = bank.taxonomy
    if taxonomy is None:
        return tuple(range(len(bank))) if node is None else ()
    sizes = taxonomy.subtree_sizes
    if node is None:
        pending = np.flatnonzero(np.diff(taxonomy.parent_indptr) == 0).tolist()
        most = SHARE * len(bank)
    else:
        pending = taxonomy.children(node).tolist()
        most = SHARE * (int(sizes[node]) - 1)
    level: set[int] = set()
    seen: set[int] = set()
    while pending:
        row = pending.pop()
        if row in seen:
            continue
        seen.add(row)
        children = taxonomy.children(row).tolist()
        if sizes[row] <= max(1.0, most) or not children:
            level.add(row)
        else:
            pending += children
    return tuple(sorted(row for row in level if not _below_another(row, level, bank)))


def _below_another(row: int, level: set[int], bank: ConceptBank) -> bool:
    """Whether a row lies below another one of a level, by another of its hypernyms."""
    assert bank.taxonomy is not None
    return any(int(above) in level for above in bank.taxonomy.closure([row]) if above != row)
