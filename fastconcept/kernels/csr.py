"""Lists of different lengths in compressed sparse rows (CSR), alone and with a number for each member."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


class Lists(NamedTuple):
    """Lists of integers, one after the other: list j is ``indices[indptr[j]:indptr[j + 1]]``.

    Unpacked, they are two arguments of ``subtree_ranks``.

    Examples
    --------
    >>> lists = Lists.of([[7, 8], [], [9]])
    >>> lists
    Lists(indptr=array([0, 2, 2, 3]), indices=array([7, 8, 9], dtype=int32))
    >>> lists.row(0), lists.lengths
    (array([7, 8], dtype=int32), array([2, 0, 1]))
    """

    indptr: Int64
    indices: npt.NDArray[Any]

    @classmethod
    def of(cls, lists: Iterable[npt.ArrayLike], dtype: npt.DTypeLike = np.int32) -> Lists:
        """The lists as CSR arrays."""
        rows = [np.asarray(row, dtype) for row in lists]
        return cls(starts(map(len, rows)), np.concatenate([np.empty(0, dtype), *rows]))

    @property
    def lengths(self) -> Int64:
        """(k,) number of members of each list."""
        return np.diff(self.indptr)

    @property
    def owners(self) -> Int64:
        """(m,) list to which each member belongs."""
        return np.repeat(np.arange(len(self.indptr) - 1), self.lengths)

    def row(self, j: int) -> npt.NDArray[Any]:
        """One list, a view."""
        return self.indices[self.indptr[j] : self.indptr[j + 1]]

    def rows(self) -> list[npt.NDArray[Any]]:
        """Every list, a view each."""
        return [self.row(j) for j in range(len(self.indptr) - 1)]

    def select(self, rows: npt.NDArray[np.integer] | Sequence[int] | range) -> Lists:
        """Some of the lists, in the order of ``rows``.

        Examples
        --------
        >>> Lists.of([[7, 8], [], [9]]).select([2, 0])
        Lists(indptr=array([0, 1, 3]), indices=array([9, 7, 8], dtype=int32))
        """
        chosen = np.asarray(rows, np.int64)
        return Lists(starts(self.indptr[chosen + 1] - self.indptr[chosen]), self.indices[self.places(chosen)])

    def places(self, rows: npt.NDArray[np.integer]) -> Int64:
        """Where in ``indices`` the members of some lists are, list after list.

        Examples
        --------
        >>> Lists.of([[7, 8], [], [9]]).places(np.array([2, 0]))
        array([2, 0, 1])
        """
        begin = self.indptr[rows]
        lengths = self.indptr[rows + 1] - begin  # of these lists alone: a walk through a graph asks for a few at a time
        before = np.cumsum(lengths) - lengths
        places: Int64 = np.arange(int(lengths.sum())) + np.repeat(begin - before, lengths)
        return places


class SparseCodes(NamedTuple):
    """Sparse codes of n problems, each with its certificate.

    The problem, for a dictionary C (N, d) and a target z (d,):

        minimise over w >= 0:   P(w) = ||z - C^T w||^2 + lambda * sum(w)

    With the residual r = z - C^T w, w is optimal exactly when ``2 c_j . r <= lambda`` for every row c_j, with equality
    where ``w_j > 0``. Scaling r until it satisfies the inequalities gives a lower bound of P (the dual objective
    ``2 s z . r - s^2 ||r||^2`` for ``0 <= s <= lambda / (2 max_j c_j . r)``), and with it a certificate. Codes of the
    signed lasso have any w, ``sum(|w|)`` in P and ``|c_j . r|`` in the inequalities.

    Attributes
    ----------
    indptr : (n + 1,) int64
    indices : (m,) int32
    values : (m,) float64
        Problem i has words ``indices[indptr[i]:indptr[i + 1]]`` (ascending) with weights ``values[...]``: > 0, or of
        either sign where that was asked for.
    l1_penalty : (n,) float64
        lambda of each problem.
    gap : (n,) float64
        Duality gap divided by the primal objective.
    kkt : (n,) float64
        Largest violation of the optimality conditions, on the scale of lambda.
    rounds : (n,) int32
        Products with the whole dictionary that were needed.

    Examples
    --------
    >>> number = np.ones(2)
    >>> codes = SparseCodes.of([([1, 4], [0.5, 0.2]), ([], [])], number, number, number, np.ones(2, np.int32))
    >>> codes.row(0)
    (array([1, 4], dtype=int32), array([0.5, 0.2]))
    """

    indptr: Int64
    indices: Int32
    values: Float64
    l1_penalty: Float64
    gap: Float64
    kkt: Float64
    rounds: Int32

    @classmethod
    def of(
        cls,
        rows: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
        l1_penalty: Float64,
        gap: Float64,
        kkt: Float64,
        rounds: Int32,
    ) -> SparseCodes:
        """Codes from one pair (indices, values) per problem."""
        words = Lists.of([indices for indices, _ in rows])
        values = np.concatenate([np.empty(0), *(np.asarray(values, np.float64) for _, values in rows)])
        return cls(*words, values, l1_penalty, gap, kkt, rounds)

    @classmethod
    def joined(cls, parts: Sequence[SparseCodes]) -> SparseCodes:
        """Codes of several batches as those of one.

        Examples
        --------
        >>> number = np.ones(1)
        >>> part = SparseCodes.of([([1, 4], [0.5, 0.2])], number, number, number, np.ones(1, np.int32))
        >>> SparseCodes.joined([part, part]).indptr
        array([0, 2, 4])
        """
        fields = [np.concatenate(field) for field in zip(*(part[1:] for part in parts), strict=True)]
        return cls(starts(np.concatenate([part.lengths for part in parts])), *fields)

    @property
    def words(self) -> Lists:
        """The words alone."""
        return Lists(self.indptr, self.indices)

    @property
    def lengths(self) -> Int64:
        """(n,) number of words of each problem."""
        return np.diff(self.indptr)

    def row(self, i: int) -> tuple[Int32, Float64]:
        """Words and weights of one problem, views."""
        span = slice(self.indptr[i], self.indptr[i + 1])
        return self.indices[span], self.values[span]

    def rows(self) -> list[tuple[Int32, Float64]]:
        """Words and weights of every problem."""
        return [self.row(i) for i in range(len(self.indptr) - 1)]

    def select(self, rows: npt.NDArray[np.integer] | Sequence[int] | range) -> SparseCodes:
        """Some of the problems, in the order of ``rows``.

        Examples
        --------
        >>> number = np.ones(2)
        >>> codes = SparseCodes.of([([1, 4], [0.5, 0.2]), ([3], [1])], number, number, number, np.ones(2, np.int32))
        >>> codes.select([1]).indices
        array([3], dtype=int32)
        """
        chosen = np.asarray(rows, np.int64)
        places = self.words.places(chosen)
        return SparseCodes(
            starts(self.lengths[chosen]),
            self.indices[places],
            self.values[places],
            self.l1_penalty[chosen],
            self.gap[chosen],
            self.kkt[chosen],
            self.rounds[chosen],
        )


def starts(lengths: Iterable[int] | Int64) -> Int64:
    """Where lists of these lengths begin, and where the last one ends.

    Examples
    --------
    >>> starts([2, 0, 1])
    array([0, 2, 2, 3])
    """
    counts = lengths if isinstance(lengths, np.ndarray) else np.array(list(lengths), np.int64)
    result = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=result[1:])
    return result
