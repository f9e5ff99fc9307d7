"""SpLiCE: an embedding as a sparse nonnegative combination of words.

For a unit embedding z, a mean mu and dictionary rows C, let ``z_c = norm(z - mu)``; the weights are

    w = argmin over w >= 0 of  ||C^T w - z_c||^2 + lambda * sum(w)

(the norm is squared and not halved), and the words add up to ``norm(norm(C^T w) + mu)``. Source: Bhalla et al.,
*Interpreting CLIP with Sparse Linear Concept Embeddings*, arXiv 2402.10376.

Functions that compute on a device take its backend as ``kernels``; nothing here knows which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..doors import iterable
from ..errors import InputError
from ..kernels import arguments
from ..kernels.contract import Array, Kernels
from ..kernels.csr import Lists, SparseCodes
from ..kernels.forks import native_calls
from .dictionary import Dictionary
from .result import AverageWeights, Decompositions, Float32, Float64, SparseWeights, reconstruct, unit

_SMALLEST_PENALTY = 1e-4  # of the penalty at which the first word enters
_HUGE = 1e100  # weights above this are scaled down, so that their squares do not overflow
_AT_THE_MEAN = 1e-6  # an embedding this close to the mean differs from it by rounding only: it has no direction
Label = TypeVar("Label", bound=Hashable)


def decompose(
    embeddings: Array,
    dictionary: Dictionary,
    mean: Float32,
    kernels: Kernels,
    *,
    l1_penalty: float | Float64 | None = None,
    l0: int | None = None,
    warm_start: SparseCodes | None = None,
    signed: bool = False,
    num_threads: int | None = None,
) -> Decompositions:
    """Explain embeddings by a few words each.

    Parameters
    ----------
    embeddings : (n, d) float32
        Embeddings of images or of texts; rows are scaled to unit length. They may be on the device of ``kernels``, and
        then only the codes come back.
    dictionary : Dictionary
        The words to choose from.
    mean : (d,) float32
        Mean of the unit embeddings of the same kind: the image mean for images, a text mean for texts.
    kernels : Kernels
        The backend of the device that computes.
    l1_penalty : float or (n,) float64
        The penalty lambda > 0. Usual values are 0.15 to 0.35; a larger penalty means fewer words. One below a
        ten-thousandth of that at which the first word enters is raised to it, and the result's ``note`` says so. Give
        either this or ``l0``.
    l0 : int
        Number of words of each code. :meth:`fastconcept.kernels.contract.Kernels.nnlasso_l0` says to which penalty it
        corresponds, and what happens at ties.
    warm_start : SparseCodes, optional
        The ``codes`` of similar embeddings, for example of the previous frame of a video; only with ``l1_penalty``.
    signed : bool
        Weights may be negative, as in the lasso without w >= 0, with lambda * sum(|w|). SpLiCE's weights are not; this
        is for comparison.
    num_threads : int, optional
        Threads of the compiled solver; by default as many as the process may use.

    Returns
    -------
    Decompositions
        One result per embedding, in order. An embedding that equals the mean, or that correlates with no word, has a
        valid result without words.

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, a row is zero, or not exactly one of ``l1_penalty`` and ``l0`` is
        given.

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
    mean = _check_mean(mean, dictionary.dimension)
    if (zero := np.flatnonzero(kernels.to_host(embeddings.any(axis=1)) == 0)).size:
        raise InputError(f"embedding {zero[0]} is zero and has no direction to explain")
    rows = unit(embeddings.astype(np.float64))
    centred = rows - kernels.beside(rows, mean.astype(np.float64))
    centred[np.linalg.norm(centred, axis=1) < _AT_THE_MEAN] = 0.0
    targets = unit(centred).astype(np.float32)
    prepared = dictionary.prepared(kernels)
    notes: tuple[str, ...] = ()
    codes: SparseCodes  # on the device of the targets
    if l0 is not None:
        codes = kernels.nnlasso_l0(prepared, targets, l0, signed=signed, num_threads=num_threads)
    else:
        assert l1_penalty is not None  # checked above
        l1_penalty, notes = _raised(
            arguments.l1_penalty(l1_penalty, len(targets)), targets, dictionary, signed, kernels
        )
        codes = kernels.nnlasso(prepared, targets, l1_penalty, warm_start, signed=signed, num_threads=num_threads)
    # Before the codes are fetched: that waits for all work so far, and then other streams may read the originals.
    originals = rows.astype(np.float32)
    fetched = SparseCodes(*(kernels.to_host(field) for field in codes))
    return Decompositions(dictionary, fetched, originals, mean, notes=notes)


def _raised(
    penalties: Float64, targets: Array, dictionary: Dictionary, signed: bool, kernels: Kernels
) -> tuple[Float64, tuple[str, ...]]:
    """Penalties that are not too small to solve for, each with a note where it had to be raised.

    Below a ten-thousandth of the penalty at which the first word enters, every further word explains rounding, and the
    solver may take minutes; the path of ``l0`` ends there, too.
    """
    if not len(targets) or penalties.min() >= 2 * _SMALLEST_PENALTY * (1 + 1e-6):  # unit rows: none begins above 2
        return penalties, ()
    rows = kernels.upload(dictionary.embeddings)
    products = (rows @ targets[i] for i in range(len(targets)))
    with native_calls.one():
        largest = np.array([kernels.to_host((abs(each) if signed else each).max()) for each in products], np.float64)
    floors = _SMALLEST_PENALTY * 2 * np.maximum(largest, 0.0)
    notes = tuple(
        f"the penalty {penalty:.3g} is too small to solve for and was raised to {floor:.3g}" if penalty < floor else ""
        for penalty, floor in zip(penalties, floors, strict=True)
    )
    return np.maximum(penalties, floors), notes if any(notes) else ()


def recompose(
    weights: Mapping[str, float] | Sequence[Mapping[str, float]], dictionary: Dictionary, mean: Float32
) -> Float32:
    """The embedding that weighted words add up to: ``norm(norm(C^T w) + mu)``.

    Parameters
    ----------
    weights : mapping of word to weight, or a sequence of n of them
        Words of the dictionary; weights may be negative here.
    dictionary : Dictionary
        The words and the rows C.
    mean : (d,) float32
        The mean mu.

    Returns
    -------
    (d,) or (n, d) float32
        Unit rows. Without any word ``norm(mean)``, which is zero if the mean is zero.

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
    mean = _check_mean(mean, dictionary.dimension)
    codes = [weights] if isinstance(weights, Mapping) else list(iterable("weights", weights))
    if not all(isinstance(code, Mapping) for code in codes):
        raise InputError(f"weights must be a mapping of words to numbers, got {type(weights).__name__}")
    words = Lists.of(dictionary.rows_of(tuple(code)) for code in codes)
    try:
        values = np.array([float(weight) for code in codes for weight in code.values()])
    except (TypeError, ValueError, OverflowError):
        raise InputError("weights must be finite numbers") from None
    if not np.isfinite(values).all():
        raise InputError("weights must be finite numbers")
    if values.size and (largest := np.abs(values).max()) > _HUGE:  # only their ratios matter
        values /= largest
    embeddings = reconstruct(dictionary, words, values, mean)
    return embeddings[0] if isinstance(weights, Mapping) else embeddings


def average(
    batches: Iterable[tuple[Array, Sequence[Label]]],
    dictionary: Dictionary,
    mean: Float32,
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
        The same as for :func:`decompose`.
    progress : callable, optional
        Function that is called after each batch with the number of embeddings so far; an exception it raises ends
        the work.

    Returns
    -------
    dict of label to AverageWeights
        In the order in which the labels first occur.

    Raises
    ------
    InputError
        As :func:`decompose`, or if a batch has more or fewer labels than embeddings.

    Examples
    --------
    >>> from fastconcept.kernels import reference
    >>> dictionary = Dictionary(["cat", "dog"], np.eye(2), np.zeros(2))
    >>> batch = (np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), ["pet", "pet"])
    >>> average([batch], dictionary, dictionary.mean, reference, l1_penalty=0.2)["pet"].top()
    [('cat', 0.45), ('dog', 0.45)]
    """
    solved = (
        (decompose(rows, dictionary, mean, kernels, l1_penalty=l1_penalty, l0=l0, num_threads=num_threads), labels)
        for rows, labels in batches
    )
    return average_codes(solved, kernels, progress)


def average_codes(
    batches: Iterable[tuple[Decompositions, Sequence[Label]]],
    kernels: Kernels,
    progress: Callable[[int], object] | None = None,
) -> dict[Label, AverageWeights]:
    """:func:`average` of batches that are decomposed already."""
    totals: dict[Label, _Total] = {}
    done = 0
    dictionary: Dictionary | None = None
    for batch, labels in batches:
        if len(labels) != len(batch):
            raise InputError(f"a batch has {len(batch)} embeddings but {len(labels)} labels")
        dictionary = batch.dictionary
        for label, code, cosine in zip(labels, batch.codes.rows(), _cosines(batch, kernels), strict=True):
            totals.setdefault(label, _Total()).add(*code, cosine)
        done += len(batch)
        if progress is not None:
            progress(done)
    return {} if dictionary is None else {label: total.average(dictionary) for label, total in totals.items()}


def _cosines(batch: Decompositions, kernels: Kernels) -> Float64:
    """``batch.cosine``, computed where the embeddings are, so that one number per embedding is fetched from a device.

    Step k adds the k-th word of every embedding that has so many.
    """
    if isinstance(batch.originals, np.ndarray):
        return batch.cosine
    codes, count = batch.codes, len(batch)
    steps, owners = int(codes.lengths.max(initial=0)), codes.words.owners
    step = np.arange(len(owners)) - codes.indptr[owners]
    words, weights = np.zeros((steps, count), np.int64), np.zeros((steps, count, 1))
    words[step, owners], weights[step, owners, 0] = codes.indices, codes.values
    words_there, weights_there = kernels.upload(words), kernels.upload(weights)
    rows, sums = batch.dictionary.prepared(kernels).rows, kernels.empty(batch.originals.shape, np.float64)
    sums[...] = 0.0
    for k in range(steps):
        sums += weights_there[k] * rows.take(words_there[k], axis=0).astype(np.float64)
    mean = kernels.upload(batch.mean.astype(np.float64))
    embeddings = unit(unit(sums) + mean).astype(np.float32).astype(np.float64)
    cosines: Float64 = kernels.to_host((embeddings * unit(batch.originals.astype(np.float64))).sum(axis=1))
    return cosines


class _Total:
    """Sums over the codes of one label, with an entry for each word that occurs in them."""

    def __init__(self) -> None:
        self._weights: dict[int, float] = {}
        self._count = self._words = 0
        self._cosines = 0.0

    def add(self, indices: npt.NDArray[np.int32], values: Float64, cosine: float) -> None:
        for index, value in zip(indices.tolist(), values.tolist(), strict=True):
            self._weights[index] = self._weights.get(index, 0.0) + value
        self._count += 1
        self._words += len(indices)
        self._cosines += float(cosine)

    def average(self, dictionary: Dictionary) -> AverageWeights:
        indices = np.array(sorted(self._weights), np.int32)
        values = np.array([self._weights[index] for index in indices.tolist()]) / self._count
        weights = SparseWeights(indices, values)
        return AverageWeights(dictionary, weights, self._count, self._words / self._count, self._cosines / self._count)


def _check_mean(mean: object, dimension: int) -> Float32:
    """The mean itself if it is a finite (d,) float32 array, else an InputError."""
    if not isinstance(mean, np.ndarray) or mean.dtype != np.float32 or mean.shape != (dimension,):
        actual = f"{mean.dtype} {mean.shape}" if isinstance(mean, np.ndarray) else type(mean).__name__
        raise InputError(f"mean must be a float32 array of shape ({dimension},), got {actual}")
    if not np.isfinite(mean).all():
        raise InputError("mean has NaN or infinite values")
    return mean
