"""What a decomposition returns: words with weights, and the embedding they add up to."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from ..errors import MissingDependencyError
from ..kernels.csr import SparseCodes
from ..kernels.host import to_host
from .dictionary import Dictionary

Vector = npt.NDArray[np.float64]


def unit(rows: Any) -> Any:
    """Rows divided by their length, on any device; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def top_words(dictionary: Dictionary, weights: SparseWeights, k: int | None) -> list[tuple[str, float]]:
    """Words by falling weight (ties: the earlier word), at most k of them."""
    order = np.argsort(-weights.values, kind="stable")[:k]
    return [(dictionary.words[weights.indices[i]], float(weights.values[i])) for i in order]


class SparseWeights(NamedTuple):
    """The nonzero weights of one code: ``indices`` (m,) int32 ascending, ``values`` (m,) float64."""

    indices: npt.NDArray[np.int32]
    values: Vector


@dataclass(frozen=True)
class Decomposition:
    """One embedding as a few words.

    With dictionary rows C, weights w, mean mu and the embedding z, the words add up to ``norm(norm(C^T w) + mu)``
    (where norm of zero is zero: without any word that is ``norm(mu)``).

    Attributes
    ----------
    weights : SparseWeights
        Rows of the dictionary and their weights > 0.
    l1_penalty : float
        The lambda that was used (or found, for a given number of words).
    gap, kkt : float
        Certificate of the weights: relative duality gap and violation of the optimality conditions; nan once words
        were taken out by :meth:`without`.
    target : (d,) float32
        The embedding that was explained; where an engine works on a GPU, it is there, and ``cosine`` fetches it.
    """

    dictionary: Dictionary
    weights: SparseWeights
    l1_penalty: float
    gap: float
    kkt: float
    target: Any
    mean: npt.NDArray[np.float32]

    @property
    def l0(self) -> int:
        """Number of words."""
        return len(self.weights.indices)

    @cached_property
    def embedding(self) -> npt.NDArray[np.float32]:
        """(d,) float32, of unit length: what the words add up to."""
        indptr = np.array([0, self.l0], np.int64)
        row: npt.NDArray[np.float32] = reconstruct(self.dictionary, indptr, *self.weights, self.mean)[0]
        return row

    @property
    def cosine(self) -> float:
        """Cosine between the reconstruction and the original embedding."""
        return float(self.embedding.astype(np.float64) @ unit(to_host(self.target).astype(np.float64)))

    def top(self, k: int | None = None) -> list[tuple[str, float]]:
        """The k words of largest weight (all by default), by falling weight."""
        return top_words(self.dictionary, self.weights, k)

    def without(self, *words: str) -> Decomposition:
        """The same code with these words' weights set to zero; its ``embedding`` is what the others add up to.

        A word of the dictionary that the code does not use changes nothing.

        Raises
        ------
        ConceptError
            If a word is not in the dictionary.
        """
        removed = self.dictionary.rows_of(words)
        kept = ~np.isin(self.weights.indices, removed)
        weights = SparseWeights(self.weights.indices[kept], self.weights.values[kept])
        nan = float("nan")
        return Decomposition(self.dictionary, weights, self.l1_penalty, nan, nan, self.target, self.mean)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ``l0, cosine, gap, kkt, l1_penalty, words`` (words by falling weight)."""
        return {
            "l0": self.l0,
            "cosine": self.cosine,
            "gap": None if np.isnan(self.gap) else self.gap,
            "kkt": None if np.isnan(self.kkt) else self.kkt,
            "l1_penalty": self.l1_penalty,
            "words": [[word, weight] for word, weight in self.top()],
        }

    def __repr__(self) -> str:
        words = ", ".join(f"{word} {weight:.3f}" for word, weight in self.top(5))
        return f"<Decomposition l0={self.l0} cosine={self.cosine:.3f}: {words}{', ...' if self.l0 > 5 else ''}>"

    def _repr_html_(self) -> str:
        return _bars(self.top(20), f"{self.l0} words, cosine {self.cosine:.3f}")


@dataclass(frozen=True)
class AverageWeights:
    """Mean weights over a set of embeddings, with the mean number of words and the mean cosine."""

    dictionary: Dictionary
    weights: SparseWeights
    count: int
    l0: float
    cosine: float

    def top(self, k: int | None = None) -> list[tuple[str, float]]:
        """The k words of largest mean weight (all by default), by falling weight."""
        return top_words(self.dictionary, self.weights, k)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ``count, l0, cosine, words``."""
        words = [[word, weight] for word, weight in self.top()]
        return {"count": self.count, "l0": self.l0, "cosine": self.cosine, "words": words}

    def __repr__(self) -> str:
        words = ", ".join(f"{word} {weight:.4f}" for word, weight in self.top(5))
        return f"<AverageWeights of {self.count}, l0={self.l0:.2f} cosine={self.cosine:.3f}: {words}>"

    def _repr_html_(self) -> str:
        return _bars(self.top(20), f"mean of {self.count}: {self.l0:.2f} words, cosine {self.cosine:.3f}")


@dataclass(frozen=True)
class Decompositions:
    """A batch of decompositions in CSR layout; indexing gives a :class:`Decomposition`, slicing a smaller batch."""

    dictionary: Dictionary
    codes: SparseCodes
    targets: Any  # (n, d) float32, on the device where they were explained
    mean_embedding: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.targets)

    @overload
    def __getitem__(self, index: int) -> Decomposition: ...
    @overload
    def __getitem__(self, index: slice) -> Decompositions: ...
    def __getitem__(self, index: int | slice) -> Decomposition | Decompositions:
        if isinstance(index, slice):
            return self._select(range(*index.indices(len(self))))
        i = range(len(self))[index]
        codes = self.codes
        return Decomposition(
            self.dictionary,
            SparseWeights(*codes.row(i)),
            float(codes.l1_penalty[i]),
            float(codes.gap[i]),
            float(codes.kkt[i]),
            self.targets[i],
            self.mean_embedding,
        )

    def _select(self, rows: range) -> Decompositions:
        return Decompositions(self.dictionary, self.codes.select(rows), self.targets[list(rows)], self.mean_embedding)

    def __iter__(self) -> Iterator[Decomposition]:
        return (self[i] for i in range(len(self)))

    @property
    def l0(self) -> npt.NDArray[np.int64]:
        """(n,) number of words of each."""
        return self.codes.lengths

    @cached_property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """(n, d) float32 unit rows: what the words of each add up to."""
        return reconstruct(self.dictionary, *self.codes[:3], self.mean_embedding)

    @cached_property
    def cosine(self) -> Vector:
        """(n,) cosine between each reconstruction and the original embedding."""
        original = unit(to_host(self.targets).astype(np.float64))
        cosines: Vector = np.einsum("ij,ij->i", self.embeddings.astype(np.float64), original)
        return cosines

    def mean(self) -> AverageWeights:
        """Mean weights over the batch (all zero for an empty batch)."""
        indices, inverse = np.unique(self.codes.indices, return_inverse=True)
        count = len(self)
        sums = np.bincount(inverse, self.codes.values, len(indices))
        l0, cosine = (float(self.l0.mean()), float(self.cosine.mean())) if count else (0.0, 0.0)
        return AverageWeights(self.dictionary, SparseWeights(indices, sums / max(count, 1)), count, l0, cosine)

    def to_scipy(self) -> Any:
        """(n, N) ``scipy.sparse.csr_array`` of the weights.

        Raises
        ------
        MissingDependencyError
            If scipy is not installed.
        """
        try:
            from scipy.sparse import csr_array  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise MissingDependencyError("scipy", "bench") from None
        shape = (len(self), len(self.dictionary))
        return csr_array((self.codes.values, self.codes.indices, self.codes.indptr), shape=shape)

    def __repr__(self) -> str:
        mean_l0 = f", mean l0={self.l0.mean():.2f}" if len(self) else ""
        return f"<Decompositions of {len(self)}{mean_l0}>"


def reconstruct(
    dictionary: Dictionary,
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    values: Vector,
    mean: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """``norm(norm(C^T w) + mu)`` for n codes in CSR layout, (n, d) float32; norm of zero is zero."""
    sums = unit(dictionary.combine(indptr, indices, values))
    rows: npt.NDArray[np.float32] = unit(sums + mean.astype(np.float64)).astype(np.float32)
    return rows


def _bars(words: list[tuple[str, float]], caption: str) -> str:
    """A small HTML table with a bar per word."""
    longest = max((weight for _, weight in words), default=1.0)
    rows = "".join(
        f"<tr><td style='text-align:right'>{html.escape(word)}</td><td style='width:12em'>"
        f"<div style='background:#4c78a8;height:.8em;width:{100 * weight / longest:.1f}%'></div></td>"
        f"<td>{weight:.4f}</td></tr>"
        for word, weight in words
    )
    return f"<table><caption>{html.escape(caption)}</caption>{rows}</table>"
