"""Directed acyclic graphs in compressed sparse rows: the shape of a taxonomy without its words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..kernels.csr import Lists, starts
from ..kernels.foreign import as_numpy
from ..kernels.forks import cached_property

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


def as_nodes(indices: ArrayLike, size: int) -> Int32:
    """Indices as an int32 array.

    Raises
    ------
    InputError
        If they are not one-dimensional integers in ``range(size)``.
    """
    nodes = as_numpy("indices", indices)
    if nodes.size == 0:
        return np.zeros(0, np.int32)
    if nodes.ndim != 1 or nodes.dtype.kind not in "iu":
        raise InputError(f"indices must be a list of integers, not {nodes.dtype} of shape {nodes.shape}")
    if nodes.min() < 0 or nodes.max() >= size:
        raise InputError(f"indices must lie in 0..{size - 1}, not in {nodes.min()}..{nodes.max()}")
    return nodes.astype(np.int32)


class Csr:
    """Edges of a graph: row ``i`` lists the targets of node ``i``.

    Parameters
    ----------
    indptr : (N + 1,) int64
        Where each row starts in ``indices``.
    indices : (E,) int32
        Targets, each in ``range(N)``.

    Raises
    ------
    InputError
        If the arrays do not describe N rows of targets in range.
    """

    def __init__(self, indptr: ArrayLike, indices: ArrayLike) -> None:
        self.indptr: Int64 = np.ascontiguousarray(indptr, dtype=np.int64).view()
        self.indices: Int32 = np.ascontiguousarray(indices, dtype=np.int32).view()
        if self.indptr.ndim != 1 or self.indices.ndim != 1 or self.indptr.size == 0:
            raise InputError(f"edges need two flat arrays, not shapes {self.indptr.shape} and {self.indices.shape}")
        if self.indptr[0] != 0 or self.indptr[-1] != self.indices.size or np.any(np.diff(self.indptr) < 0):
            raise InputError(f"edges: the row starts do not rise from 0 to {self.indices.size}")
        if self.indices.size and (self.indices.min() < 0 or self.indices.max() >= len(self)):
            raise InputError(f"edges: a target lies outside 0..{len(self) - 1}")
        self.indptr.flags.writeable = self.indices.flags.writeable = False

    @classmethod
    def from_counts(cls, counts: ArrayLike, indices: ArrayLike) -> Csr:
        """Build from the length of every row."""
        return cls(starts(np.asarray(counts, np.int64)), indices)

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> Csr:
        """Build from one sequence of targets per node."""
        return cls(*Lists.of(rows))

    def __len__(self) -> int:
        return self.indptr.size - 1

    @property
    def lists(self) -> Lists:
        """The rows as the kernels take them."""
        return Lists(self.indptr, self.indices)

    def row(self, node: int) -> Int32:
        """Targets of one node (a view)."""
        return self.lists.row(node)

    @property
    def counts(self) -> Int64:
        """Length of every row, (N,)."""
        return self.lists.lengths

    def gather(self, nodes: Int32) -> Int32:
        """Targets of many nodes, row after row."""
        return self.indices[self.lists.places(nodes)]

    def transpose(self) -> Csr:
        """The same edges in the opposite direction; rows ascending."""
        sources = np.repeat(np.arange(len(self), dtype=np.int32), self.counts)
        by_target = np.argsort(self.indices, kind="stable")
        return Csr.from_counts(np.bincount(self.indices, minlength=len(self)), sources[by_target])

    def merge(self, other: Csr) -> Csr:
        """Rows of ``self`` followed by rows of ``other``, node by node."""
        nodes = np.arange(len(self))
        sources = np.concatenate((np.repeat(nodes, self.counts), np.repeat(nodes, other.counts)))
        targets = np.concatenate((self.indices, other.indices))
        return Csr.from_counts(self.counts + other.counts, targets[np.argsort(sources, kind="stable")])

    def restrict(self, nodes: Int32) -> Csr:
        """The graph of some nodes (ascending), renumbered, with the edges between them."""
        position = np.full(len(self), -1, np.int32)
        position[nodes] = np.arange(nodes.size, dtype=np.int32)
        targets = position[self.gather(nodes)]
        rows = np.repeat(np.arange(nodes.size), self.counts[nodes])[targets >= 0]
        return Csr.from_counts(np.bincount(rows, minlength=nodes.size), targets[targets >= 0])

    def reach(self, starts: Int32) -> Int32:
        """``starts`` and every node that can be reached from them, ascending."""
        reached = np.zeros(len(self), bool)
        frontier = starts
        while frontier.size:
            reached[frontier] = True
            targets = self.gather(frontier)
            frontier = np.unique(targets[~reached[targets]])
        return np.flatnonzero(reached).astype(np.int32)

    @cached_property
    def depth(self) -> Int32:
        """Edges on the longest walk from each node to one without targets, (N,) int32.

        Raises
        ------
        InputError
            If the edges form a cycle.
        """
        sources = self.transpose()
        waiting = self.counts
        depth = np.zeros(len(self), np.int32)
        frontier, level, done = np.flatnonzero(waiting == 0), 0, 0
        while frontier.size:  # a node is ready once all its targets are; the level at which it is ready is its depth
            depth[frontier] = level
            done += frontier.size
            released = sources.gather(frontier.astype(np.int32))
            np.subtract.at(waiting, released, 1)
            frontier = np.unique(released[waiting[released] == 0])
            level += 1
        if done != len(self):
            raise InputError(f"edges: {len(self) - done} nodes lie on or behind a cycle; a taxonomy has none")
        depth.flags.writeable = False
        return depth

    def paths(self, node: int, limit: int) -> list[list[int]]:
        """At most ``limit`` walks from ``node`` to nodes without targets; those by the first targets come first."""
        paths: list[list[int]] = []
        stack = [[node]]
        while stack and len(paths) < limit:
            path = stack.pop()
            targets = self.row(path[-1]).tolist()
            if targets:
                stack.extend([*path, target] for target in reversed(targets))
            else:
                paths.append(path)
        return paths
