"""Logistic regression with a penalty chosen by cross-validation: one solver and one grid for dense and sparse rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from .libraries import library

Labels = npt.NDArray[np.str_]
Folds = npt.NDArray[np.int64]
GRID = (0.3, 3.0, 30.0)  # C of scikit-learn, for rows whose mean squared length is one
_INNER = 3  # folds that choose C
_ITERATIONS = 1000
_TOLERANCE = 1e-3


def folds_of(labels: Labels, folds: int, seed: int) -> Folds:
    """A fold for every item, each class spread evenly; a class of fewer items than folds is in as many of them.

    Parameters
    ----------
    labels : (n,) str
    folds, seed : int

    Examples
    --------
    >>> folds_of(np.array(["a", "b", "a", "b", "a"]), 3, seed=0).shape
    (5,)
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


class Probes:
    """One probe for each fold, trained on the rows of the other folds.

    Parameters
    ----------
    rows : (n, d) array or scipy.sparse.csr_array
        Sparse rows stay sparse.
    labels : (n,) str
        Two classes of two items at least.
    fold : (n,) int64
    seed : int
        Of the folds that choose C.

    Examples
    --------
    >>> rows, labels = np.repeat(np.eye(2), 6, axis=0), np.repeat(["a", "b"], 6)
    >>> int(Probes(rows, labels, folds_of(labels, 3, 0), 0).right(rows).sum())
    12
    """

    def __init__(self, rows: Any, labels: Labels, fold: Folds, seed: int) -> None:
        self._labels = labels
        self._held = [np.flatnonzero(fold == number) for number in np.unique(fold)]
        self._models = []
        for held in self._held:
            others = np.setdiff1d(np.arange(len(labels)), held)
            self._models.append(fitted(rows[others], labels[others], seed))

    def right(self, rows: Any) -> npt.NDArray[np.float64]:
        """(n,) 1 where the probe that was not trained on an item is right about its row, else 0."""
        right = np.zeros(len(self._labels))
        for held, (model, scale) in zip(self._held, self._models, strict=True):
            right[held] = model.predict(rows[held] * scale) == self._labels[held]
        return right


def fitted(rows: Any, labels: Labels, seed: int) -> tuple[Any, float]:
    """A logistic regression of all rows with the best C of ``GRID``, and the factor by which rows are scaled.

    Rows are multiplied by one number, so that their mean squared length is one: then the grid means the same for every
    kind of row. Of equally good C the smallest is taken.

    Parameters
    ----------
    rows : (n, d) array or scipy.sparse.csr_array
    labels : (n,) str
    seed : int

    Returns
    -------
    model, scale : LogisticRegression, float
    """
    square = float(rows.multiply(rows).sum() if hasattr(rows, "multiply") else (rows.astype(np.float64) ** 2).sum())
    scale = float(np.sqrt(len(labels) / square)) if square > 0 else 1.0
    scaled = rows * scale
    fold, hits = folds_of(labels, _INNER, seed), np.zeros(len(GRID))
    for number in range(_INNER):
        held = fold == number
        if held.any() and len(np.unique(labels[~held])) > 1:  # a fold that leaves one class decides nothing
            inside, outside = scaled[np.flatnonzero(~held)], scaled[np.flatnonzero(held)]
            model = _model(GRID[0])
            for k, strength in enumerate(GRID):
                model.set_params(C=strength)  # and goes on from the last one
                hits[k] += (_fit(model, inside, labels[~held]).predict(outside) == labels[held]).sum()
    best = GRID[int(hits.argmax())] if hits.any() else GRID[len(GRID) // 2]
    return _fit(_model(best), scaled, labels), scale


def _model(strength: float) -> Any:
    logistic = library("sklearn.linear_model").LogisticRegression
    return logistic(C=strength, max_iter=_ITERATIONS, tol=_TOLERANCE, warm_start=True)


def _fit(model: Any, rows: Any, labels: Labels) -> Any:
    with warnings.catch_warnings():  # one that stops early is as good a probe as its accuracy says
        warnings.simplefilter("ignore", library("sklearn.exceptions").ConvergenceWarning)
        return model.fit(rows, labels)
