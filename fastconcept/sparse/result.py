"""What a decomposition returns: words with weights, and the embedding they add up to."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

from ..doors import door, position
from ..errors import MissingDependencyError
from ..kernels.contract import Array
from ..kernels.csr import Lists, SparseCodes
from ..kernels.forks import cached_property
from ..kernels.host import to_host
from .dictionary import Dictionary

if TYPE_CHECKING:
    from scipy.sparse import csr_array  # type: ignore[import-untyped, unused-ignore]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
_Rows = TypeVar("_Rows", bound=Array)


class SparseWeights(NamedTuple):
    """The nonzero weights of one code: ``indices`` (m,) int32 ascending, ``values`` (m,) float64."""

    indices: npt.NDArray[np.int32]
    values: Float64

    def top(self, dictionary: Dictionary, k: int | None) -> list[tuple[str, float]]:
        """At most k words by falling weight; of equal weights, the earlier word comes first."""
        order = np.argsort(-self.values, kind="stable")[:k]
        return [(dictionary.words[self.indices[i]], float(self.values[i])) for i in order]


@dataclass(frozen=True)
class Decomposition:
    """One embedding as a few words.

    With dictionary rows C, weights w and mean mu, the words add up to ``norm(norm(C^T w) + mu)``, where norm of zero
    is zero: without any word that is ``norm(mu)``.

    Attributes
    ----------
    dictionary : Dictionary
        The words to choose from.
    weights : SparseWeights
        Rows of the dictionary and their weights > 0.
    l1_penalty : float
        The lambda of the problem that the weights solve, whether it was an argument or follows from ``l0``.
    gap, kkt : float
        Certificate of the weights: relative duality gap and violation of the optimality conditions; nan after
        :meth:`without`.
    original : (d,) float32
        The embedding that is explained, of unit length. It lies on the device of the engine; ``cosine`` fetches it.
    mean : (d,) float32
        The mean mu.
    timings_ms : dict
        Milliseconds by stage, for the whole call that made this result; empty if nobody measured them.
    note : str
        How the input was understood; empty where nothing had to be decided.
    """

    dictionary: Dictionary
    weights: SparseWeights
    l1_penalty: float
    gap: float
    kkt: float
    original: Array
    mean: Float32
    timings_ms: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def l0(self) -> int:
        """Number of words."""
        return len(self.weights.indices)

    @cached_property
    def embedding(self) -> Float32:
        """(d,) float32, of unit length: what the words add up to."""
        row: Float32 = reconstruct(self.dictionary, Lists.of([self.weights.indices]), self.weights.values, self.mean)[0]
        return row

    @property
    def cosine(self) -> float:
        """Cosine between what the words add up to and the original embedding."""
        return float(self.embedding.astype(np.float64) @ unit(to_host(self.original).astype(np.float64)))

    @door
    def top(self, k: int | None = None) -> list[tuple[str, float]]:
        """The k words of largest weight (all by default), by falling weight."""
        return self.weights.top(self.dictionary, k)

    @door
    def without(self, *words: str) -> Decomposition:
        """The same code with the weights of these words set to zero; its ``embedding`` is what the others add up to.

        Words that the model cannot tell apart (``Dog`` and ``dog``) go together. A word of the dictionary that the code
        does not use changes nothing.

        Raises
        ------
        ConceptError
            If a word is not in the dictionary.
        """
        others = ~np.isin(self.weights.indices, self.dictionary.equals_of(self.dictionary.rows_of(words)))
        weights = SparseWeights(self.weights.indices[others], self.weights.values[others])
        nan = float("nan")
        return replace(self, weights=weights, gap=nan, kkt=nan, timings_ms={})

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: ``l0, cosine, gap, kkt, l1_penalty, words`` (by falling weight), and any timings."""
        return {
            "l0": self.l0,
            "cosine": self.cosine,
            "gap": None if np.isnan(self.gap) else self.gap,
            "kkt": None if np.isnan(self.kkt) else self.kkt,
            "l1_penalty": self.l1_penalty,
            "words": [[word, weight] for word, weight in self.top()],
            **({"note": self.note} if self.note else {}),
            **_measured(self.timings_ms),
        }

    def __repr__(self) -> str:
        words = ", ".join(f"{word} {weight:.3f}" for word, weight in self.top(5))
        return f"<Decomposition l0={self.l0} cosine={self.cosine:.3f}: {words}{', ...' if self.l0 > 5 else ''}>"

    def _repr_html_(self) -> str:
        return _bars(self.top(20), f"{self.l0} words, cosine {self.cosine:.3f}")


@dataclass(frozen=True)
class AverageWeights:
    """Mean weights over a set of embeddings.

    Attributes
    ----------
    dictionary : Dictionary
        The words to choose from.
    weights : SparseWeights
        Rows of the dictionary and their mean weights > 0.
    count : int
        Number of embeddings.
    l0, cosine : float
        Mean number of words, and mean cosine between what the words add up to and the original embedding.
    timings_ms : dict
        Milliseconds by stage, for the whole call that made this result; empty if nobody measured them.
    """

    dictionary: Dictionary
    weights: SparseWeights
    count: int
    l0: float
    cosine: float
    timings_ms: dict[str, float] = field(default_factory=dict)

    @door
    def top(self, k: int | None = None) -> list[tuple[str, float]]:
        """The k words of largest mean weight (all by default), by falling weight."""
        return self.weights.top(self.dictionary, k)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: ``count, l0, cosine, words`` (by falling weight), and any timings."""
        words = [[word, weight] for word, weight in self.top()]
        averages = {"count": self.count, "l0": self.l0, "cosine": self.cosine, "words": words}
        return {**averages, **_measured(self.timings_ms)}

    def __repr__(self) -> str:
        words = ", ".join(f"{word} {weight:.4f}" for word, weight in self.top(5))
        return f"<AverageWeights of {self.count}, l0={self.l0:.2f} cosine={self.cosine:.3f}: {words}>"

    def _repr_html_(self) -> str:
        return _bars(self.top(20), f"average of {self.count}: {self.l0:.2f} words, cosine {self.cosine:.3f}")


@dataclass(frozen=True)
class Decompositions:
    """A batch of decompositions. An index gives a :class:`Decomposition`, a slice a smaller batch.

    Attributes
    ----------
    dictionary : Dictionary
        The words to choose from.
    codes : SparseCodes
        Words and weights of each embedding, with their certificates.
    originals : (n, d) float32
        The embeddings that are explained, unit rows. They lie on the device of the engine; ``cosine`` fetches them.
    mean : (d,) float32
        The mean mu.
    timings_ms : dict
        Milliseconds by stage, for the whole batch; empty if nobody measured them.
    notes : tuple of str
        For each, how the input was understood; () if nothing had to be decided for any.
    """

    dictionary: Dictionary
    codes: SparseCodes
    originals: Array
    mean: Float32
    timings_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.originals)

    @classmethod
    def joined(cls, batches: Sequence[Decompositions]) -> Decompositions:
        """At least one batch of one dictionary and mean, one after the other."""
        first = batches[0]
        if len(batches) == 1:
            return first
        codes = SparseCodes.joined([batch.codes for batch in batches])
        notes = [note for batch in batches for note in batch.notes or ("",) * len(batch)]
        originals = np.concatenate([batch.originals for batch in batches])  # on a device, of CuPy
        return replace(first, codes=codes, originals=originals, notes=tuple(notes) if any(notes) else ())

    def noted(self, notes: Sequence[str], timings_ms: dict[str, float]) -> Decompositions:
        """The same with further notes, one for each (or none at all), and with timings."""
        both = ["; ".join(filter(None, pair)) for pair in zip_longest(self.notes, notes, fillvalue="")]
        return replace(self, notes=tuple(both) if any(both) else (), timings_ms=timings_ms)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Decomposition: ...
    @overload
    def __getitem__(self, index: slice) -> Decompositions: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Decomposition | Decompositions:
        codes = self.codes
        if isinstance(index, slice):
            rows = range(*index.indices(len(self)))
            originals = self.originals[list(rows)]
            notes = self.notes[index]
            return Decompositions(self.dictionary, codes.select(rows), originals, self.mean, self.timings_ms, notes)
        i = position(index, len(self))
        return Decomposition(
            self.dictionary,
            SparseWeights(*codes.row(i)),
            float(codes.l1_penalty[i]),
            float(codes.gap[i]),
            float(codes.kkt[i]),
            self.originals[i],
            self.mean,
            self.timings_ms,
            self.notes[i] if self.notes else "",
        )

    def __iter__(self) -> Iterator[Decomposition]:
        return (self[i] for i in range(len(self)))

    @property
    def l0(self) -> npt.NDArray[np.int64]:
        """(n,) number of words of each."""
        return self.codes.lengths

    @cached_property
    def embeddings(self) -> Float32:
        """(n, d) float32 unit rows: what the words of each add up to."""
        return reconstruct(self.dictionary, self.codes.words, self.codes.values, self.mean)

    @cached_property
    def cosine(self) -> Float64:
        """(n,) cosine between what the words of each add up to and the original embedding."""
        originals = unit(to_host(self.originals).astype(np.float64))
        cosines: Float64 = np.einsum("ij,ij->i", self.embeddings.astype(np.float64), originals)
        return cosines

    def average(self) -> AverageWeights:
        """Mean weights over the batch; of an empty batch, no words."""
        indices, inverse = np.unique(self.codes.indices, return_inverse=True)
        count = len(self)
        weights = SparseWeights(indices, np.bincount(inverse, self.codes.values, len(indices)) / max(count, 1))
        l0, cosine = (float(self.l0.mean()), float(self.cosine.mean())) if count else (0.0, 0.0)
        return AverageWeights(self.dictionary, weights, count, l0, cosine, self.timings_ms)

    def to_scipy(self) -> csr_array:
        """The weights as (n, N) ``scipy.sparse.csr_array``.

        Raises
        ------
        MissingDependencyError
            If scipy is not installed.
        """
        try:
            from scipy.sparse import csr_array
        except ImportError:
            raise MissingDependencyError("scipy", "bench") from None
        shape = (len(self), len(self.dictionary))
        return csr_array((self.codes.values, self.codes.indices, self.codes.indptr), shape=shape)

    def __repr__(self) -> str:
        mean_l0 = f", mean l0={self.l0.mean():.2f}" if len(self) else ""
        return f"<Decompositions of {len(self)}{mean_l0}>"


def unit(rows: _Rows) -> _Rows:
    """Rows divided by their length, on any device; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: _Rows = rows / np.where(lengths > 0, lengths, 1.0)
    return result


def reconstruct(dictionary: Dictionary, words: Lists, weights: Float64, mean: Float32) -> Float32:
    """The embeddings that words add up to: ``norm(norm(C^T w) + mu)``, where norm of zero is zero.

    Parameters
    ----------
    dictionary : Dictionary
        The words and the rows C.
    words : Lists
        Rows of the dictionary, for each of n codes.
    weights : (m,) float64
        The weight of each member of ``words.indices``.
    mean : (d,) float32
        The mean mu.

    Returns
    -------
    (n, d) float32
        Unit rows.
    """
    sums = unit(dictionary.combine(words, weights))
    return unit(sums + mean.astype(np.float64)).astype(np.float32)


def _measured(timings_ms: dict[str, float]) -> dict[str, object]:
    return {"timings_ms": dict(timings_ms)} if timings_ms else {}


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
