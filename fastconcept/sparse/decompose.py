"""SpLiCE: an embedding as a sparse nonnegative combination of words.

For a unit embedding z, a mean mu and dictionary rows C: ``z_c = norm(z - mu)``, then

    w = argmin over w >= 0 of  ||C^T w - z_c||^2 + lambda * sum(w)

(squared norm without 1/2), and the words add up to ``norm(norm(C^T w) + mu)``. Bhalla et al., "Interpreting CLIP
with Sparse Linear Concept Embeddings", arXiv 2402.10376.

Every function takes the kernel backend as ``kernels``; nothing here knows which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..kernels.contract import Array, Kernels
from ..kernels.csr import Lists, SparseCodes
from .dictionary import Dictionary
from .result import AverageWeights, Decompositions, SparseWeights, reconstruct, unit

Embeddings = npt.NDArray[np.float32]  # or of the kernels' device
_AT_THE_MEAN = 1e-6  # an embedding this close to the mean has no direction but that of its rounding
Label = TypeVar("Label", bound=Hashable)


def decompose(
    embeddings: Array,
    dictionary: Dictionary,
    mean: Embeddings,
    kernels: Kernels,
    *,
    l1_penalty: float | npt.NDArray[np.float64] | None = None,
    l0: int | None = None,
    warm_start: SparseCodes | None = None,
    num_threads: int | None = None,
) -> Decompositions:
    """Explain embeddings by a few words each.

    Parameters
    ----------
    embeddings : (n, d) float32
        Of images or of texts; rows are scaled to unit length. With the CUDA kernels they may be on the device, and
        then only the codes come back.
    dictionary : Dictionary
        Words and centred unit rows.
    mean : (d,) float32
        Mean of the unit embeddings of the same kind: the image mean for images, a text mean for texts.
    kernels : Kernels
        Of the device where the embeddings are or go.
    l1_penalty : float or (n,) float64
        lambda > 0; 0.15 to 0.35 is usual, larger means fewer words. Give this or ``l0``.
    l0 : int
        Number of words instead; see ``nnlasso_l0`` for the penalty it stands for and for ties.
    warm_start : SparseCodes, optional
        ``.codes`` of similar embeddings (the previous frame of a video); only with ``l1_penalty``.
    num_threads : int, optional
        Threads of the compiled solver; by default what the process may use.

    Returns
    -------
    Decompositions
        In order. An embedding that no word correlates with, or that is the mean, has no words: a valid result.

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, a row is zero, or both or neither of
        ``l1_penalty`` and ``l0`` are given.

    Examples
    --------
    >>> from fastconcept.kernels import reference
    >>> dictionary = Dictionary(["cat", "dog", "car"], np.eye(3), np.zeros(3))
    >>> embedding = np.array([[0.8, 0.6, 0.0]], np.float32)
    >>> result = decompose(embedding, dictionary, dictionary.mean, reference, l1_penalty=0.2)
    >>> [(word, round(weight, 3)) for word, weight in result[0].top()]
    [('cat', 0.7), ('dog', 0.5)]
    """
    if (l1_penalty is None) == (l0 is None):
        raise InputError(f"give l1_penalty or l0, exactly one of them; got l1_penalty={l1_penalty!r}, l0={l0!r}")
    if warm_start is not None and l0 is not None:
        raise InputError("warm_start works with l1_penalty only")
    embeddings = kernels.check_rows(embeddings, "embeddings")
    if embeddings.shape[1] != dictionary.dimension:
        raise InputError(
            f"embeddings have {embeddings.shape[1]} columns but the dictionary has {dictionary.dimension}; "
            "both must come from the same model"
        )
    mean = _check_mean(mean, dictionary)
    if (empty := np.flatnonzero(kernels.to_host(embeddings.any(axis=1)) == 0)).size:
        raise InputError(f"embedding {empty[0]} is zero and has no direction to explain")
    rows = unit(embeddings.astype(np.float64))
    centred = rows - kernels.beside(rows, mean.astype(np.float64))
    centred[np.linalg.norm(centred, axis=1) < _AT_THE_MEAN] = 0.0
    targets = unit(centred).astype(np.float32)
    prepared = dictionary.prepared(kernels)
    codes: SparseCodes  # of the targets' device
    if l0 is not None:
        codes = kernels.nnlasso_l0(prepared, targets, l0, num_threads=num_threads)
    else:
        assert l1_penalty is not None  # of the two, one is given
        codes = kernels.nnlasso(prepared, targets, l1_penalty, warm_start, num_threads=num_threads)
    kept = rows.astype(np.float32)  # before the codes come back, which waits for it: others may read it
    return Decompositions(dictionary, SparseCodes(*(kernels.to_host(field) for field in codes)), kept, mean)


def recompose(
    weights: Mapping[str, float] | Sequence[Mapping[str, float]], dictionary: Dictionary, mean: Embeddings
) -> Embeddings:
    """The embedding that given words with given weights add up to: ``norm(norm(C^T w) + mu)``.

    Parameters
    ----------
    weights : mapping of word to weight, or a sequence of n of them
        Weights may be negative here.
    dictionary : Dictionary
    mean : (d,) float32

    Returns
    -------
    (d,) or (n, d) float32
        Unit rows. Without any word ``norm(mean)``; a zero vector if the mean is zero too.

    Raises
    ------
    ConceptError
        If a word is not in the dictionary.
    InputError
        If a weight is not finite or the mean has the wrong shape.

    Examples
    --------
    >>> dictionary = Dictionary(["cat", "dog", "car"], np.eye(3), np.zeros(3))
    >>> recompose({"cat": 0.3, "dog": 0.4}, dictionary, dictionary.mean).round(6)
    array([0.6, 0.8, 0. ], dtype=float32)
    """
    mean = _check_mean(mean, dictionary)
    codes = [weights] if isinstance(weights, Mapping) else list(weights)
    rows = Lists.of(dictionary.rows_of(code) for code in codes)
    values = np.array([float(weight) for code in codes for weight in code.values()])
    if not np.isfinite(values).all():
        raise InputError("weights must be finite numbers")
    result = reconstruct(dictionary, *rows, values, mean)
    return result[0] if isinstance(weights, Mapping) else result


def average(
    batches: Iterable[tuple[Embeddings, Sequence[Label]]],
    dictionary: Dictionary,
    mean: Embeddings,
    kernels: Kernels,
    *,
    l1_penalty: float | None = None,
    l0: int | None = None,
    num_threads: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[Label, AverageWeights]:
    """Mean weights per label over a stream of batches, of which only one is in memory at a time.

    Parameters
    ----------
    batches : iterable of (embeddings, labels)
        Unit rows (n, d) float32 and n labels. For the average of a whole dataset give every row the same label.
    dictionary, mean, kernels, l1_penalty, l0, num_threads
        As in :func:`decompose`.
    progress : callable, optional
        Called after each batch with the number of embeddings done so far; an exception it raises ends the work.

    Returns
    -------
    dict of label to AverageWeights
        In the order in which the labels first occur.

    Raises
    ------
    InputError
        As :func:`decompose`, or if a batch has another number of labels than of embeddings.

    Examples
    --------
    >>> from fastconcept.kernels import reference
    >>> dictionary = Dictionary(["cat", "dog"], np.eye(2), np.zeros(2))
    >>> batch = (np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), ["pet", "pet"])
    >>> average([batch], dictionary, dictionary.mean, reference, l1_penalty=0.2)["pet"].top()
    [('cat', 0.45), ('dog', 0.45)]
    """
    totals: dict[Label, _Total] = {}
    done = 0
    for embeddings, labels in batches:
        if len(labels) != len(embeddings):
            raise InputError(f"a batch has {len(embeddings)} embeddings but {len(labels)} labels")
        result = decompose(embeddings, dictionary, mean, kernels, l1_penalty=l1_penalty, l0=l0, num_threads=num_threads)
        cosines = _cosines(result, dictionary, kernels)
        for i, label in enumerate(labels):
            totals.setdefault(label, _Total()).add(*result.codes.row(i), cosines[i])
        done += len(embeddings)
        if progress is not None:
            progress(done)
    return {label: total.average(dictionary) for label, total in totals.items()}


def _cosines(result: Decompositions, dictionary: Dictionary, kernels: Kernels) -> npt.NDArray[np.float64]:
    """``result.cosine``, made where the embeddings are: of them, only one number each comes back."""
    if isinstance(result.targets, np.ndarray):
        return result.cosine
    codes, count = result.codes, len(result)
    most, rows = int(codes.lengths.max(initial=0)), codes.words.owners
    places = np.arange(len(rows)) - codes.indptr[rows]
    words, weights = np.zeros((most, count), np.int64), np.zeros((most, count, 1))
    words[places, rows], weights[places, rows, 0] = codes.indices, codes.values
    chosen, factors = kernels.upload(words), kernels.upload(weights)
    rows_of_words, sums = dictionary.prepared(kernels).rows, kernels.empty(result.targets.shape, np.float64)
    sums[...] = 0.0
    for place in range(most):
        sums += factors[place] * rows_of_words.take(chosen[place], axis=0).astype(np.float64)
    mean = kernels.upload(result.mean_embedding.astype(np.float64))
    made = unit(unit(sums) + mean).astype(np.float32).astype(np.float64)
    cosines: npt.NDArray[np.float64] = kernels.to_host((made * unit(result.targets.astype(np.float64))).sum(axis=1))
    return cosines


class _Total:
    """Sums of weights under one label, as sparse as what was added."""

    def __init__(self) -> None:
        self._sums: dict[int, float] = {}
        self._count = self._words = 0
        self._cosines = 0.0

    def add(self, indices: npt.NDArray[np.int32], values: npt.NDArray[np.float64], cosine: float) -> None:
        for index, value in zip(indices.tolist(), values.tolist(), strict=True):
            self._sums[index] = self._sums.get(index, 0.0) + value
        self._count += 1
        self._words += len(indices)
        self._cosines += float(cosine)

    def average(self, dictionary: Dictionary) -> AverageWeights:
        indices = np.array(sorted(self._sums), np.int32)
        values = np.array([self._sums[index] for index in sorted(self._sums)]) / self._count
        weights = SparseWeights(indices, values)
        return AverageWeights(dictionary, weights, self._count, self._words / self._count, self._cosines / self._count)


def _check_mean(mean: object, dictionary: Dictionary) -> Embeddings:
    """A finite (d,) float32 mean, or an error."""
    if not isinstance(mean, np.ndarray) or mean.dtype != np.float32 or mean.shape != (dictionary.dimension,):
        given = f"{mean.dtype} {mean.shape}" if isinstance(mean, np.ndarray) else type(mean).__name__
        raise InputError(f"mean must be a float32 array of shape ({dictionary.dimension},), got {given}")
    if not np.isfinite(mean).all():
        raise InputError("mean has NaN or infinite values")
    return mean
