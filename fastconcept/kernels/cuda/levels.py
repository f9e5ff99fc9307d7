"""A graph of concepts as the kernel of ``all_ranks`` walks it: level by level, from the leaves upward."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..csr import Lists, starts
from .arrays import Tables

Integers = npt.NDArray[np.int64]


class Levels(Tables):
    """A DAG as lists of concepts that have children, from the leaves upward.

    Parameters
    ----------
    child_indptr, child_indices, order : integer arrays
        As ``all_ranks`` takes them.
    concepts : int
        Rows of the bank.

    Raises
    ------
    InputError
        If they are no such graph.
    """

    def __init__(self, child_indptr: object, child_indices: object, order: object, concepts: int) -> None:
        arguments.integers("child_indptr", child_indptr, concepts + 1, "N + 1")
        names = ("child_indptr", "child_indices")
        children = arguments.lists(child_indptr, child_indices, concepts, names, may_be_empty=True)
        arguments.bottom_up(order, children)
        levels = bottom_up_levels(children)
        nodes = Lists.of(levels)
        slot = np.full(concepts, -1, np.int64)
        slot[nodes.indices] = np.arange(len(nodes.indices))
        edges = children.select(nodes.indices)
        inner = slot[edges.indices] >= 0
        # A concept with a slot gives it its own rank; one without, its parents.
        leaves = np.concatenate([nodes.indices, edges.indices[~inner]])
        slots = np.concatenate([slot[nodes.indices], edges.owners[~inner]])
        rising = np.argsort(leaves, kind="stable")
        indptr = np.searchsorted(edges.owners[inner], nodes.indptr)
        joined = slot[edges.indices[inner]], edges.owners[inner]
        self.sizes = (len(nodes.indices), len(leaves), len(levels))
        tables = (nodes.indices, leaves[rising], slots[rising], indptr, *joined)
        super().__init__(*(np.asarray(table, np.int32) for table in tables))


def bottom_up_levels(children: Lists) -> list[Integers]:
    """Nodes that have children, grouped so that every child lies in an earlier group (or has no children).

    Examples
    --------
    >>> bottom_up_levels(Lists.of([[1, 2], [], [3], []]))  # 0 above 1 and 2; 2 above 3
    [array([2]), array([0])]
    """
    waiting = children.lengths
    counts = np.bincount(children.indices, minlength=len(waiting))
    parents = Lists(starts(counts), children.owners[np.argsort(children.indices, kind="stable")])
    done = np.flatnonzero(waiting == 0)
    levels: list[Integers] = []
    while True:
        finished = parents.select(done).indices
        np.subtract.at(waiting, finished, 1)
        done = np.unique(finished[waiting[finished] == 0])
        if len(done) == 0:
            return levels
        levels.append(done)
