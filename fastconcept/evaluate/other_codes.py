"""Codes by other methods than the lasso: what does the penalty buy?"""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from ..kernels.csr import SparseCodes
from ..sparse.dictionary import Dictionary
from ..sparse.result import Decompositions, unit
from .libraries import library

FloatArray = npt.NDArray[np.float32]
_BATCH = 64  # targets whose dense weights are in memory at a time


def omp(embeddings: FloatArray, dictionary: Dictionary, mean: FloatArray, l0: int) -> Decompositions:
    """Orthogonal matching pursuit, by scikit-learn: at most ``l0`` words one after the other, weights of either sign.

    Parameters
    ----------
    embeddings : (n, d) float32, unit rows
    dictionary : Dictionary
    mean : (d,) float32
    l0 : int

    Returns
    -------
    Decompositions
        Without certificates: ``gap`` and ``kkt`` are nan.
    """
    pursue = library("sklearn.linear_model").orthogonal_mp
    columns = np.asfortranarray(dictionary.embeddings.T)
    rows = []
    for start in range(0, len(embeddings), _BATCH):
        targets = _centred(embeddings[start : start + _BATCH], mean)
        with warnings.catch_warnings():  # equal words end a pursuit early: then a code has fewer words
            warnings.simplefilter("ignore", RuntimeWarning)
            weights = pursue(columns, targets.T, n_nonzero_coefs=min(l0, *columns.shape))
        rows += [_code(row) for row in weights.reshape(len(dictionary), -1).T]
    return _decompositions(rows, dictionary, embeddings, mean)


def nearest(embeddings: FloatArray, dictionary: Dictionary, mean: FloatArray, l0: int) -> Decompositions:
    """The ``l0`` words of largest cosine, each weighted by it: what a nearest-neighbour look-up says.

    Parameters and result are those of :func:`omp`; words that point away from the embedding have no weight.
    """
    rows = []
    for start in range(0, len(embeddings), _BATCH):
        cosines = _centred(embeddings[start : start + _BATCH], mean) @ dictionary.embeddings.T
        for row in cosines:
            chosen = np.argsort(-row, kind="stable")[:l0]
            kept = np.zeros_like(row)
            kept[chosen] = np.maximum(row[chosen], 0.0)
            rows.append(_code(kept))
    return _decompositions(rows, dictionary, embeddings, mean)


def _centred(embeddings: FloatArray, mean: FloatArray) -> FloatArray:
    return unit(embeddings.astype(np.float64) - mean).astype(np.float32)


def _code(weights: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    used = np.flatnonzero(weights)
    return used, weights[used].astype(np.float64)


def _decompositions(
    rows: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]],
    dictionary: Dictionary,
    embeddings: FloatArray,
    mean: FloatArray,
) -> Decompositions:
    unknown = np.full(len(rows), np.nan)
    codes = SparseCodes.of(rows, unknown, unknown, unknown, np.zeros(len(rows), np.int32))
    return Decompositions(dictionary, codes, embeddings, mean)
