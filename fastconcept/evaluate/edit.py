"""Model editing: take concepts out of embeddings, and see what a linear probe still knows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRow
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..kernels.csr import Lists
from ..pages.document import Report
from ..pages.plots import bars
from ..pages.tables import Table
from ..sparse.result import reconstruct
from .libraries import library
from .weights import Weights, decompose_dataset, group_values

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ProbeRow:
    """What linear probes say about one kind of embedding.

    Attributes
    ----------
    embeddings : str
        ``dense``, ``decomposed``, ``edited``, or ``random words edited``.
    target, worst : float
        Accuracy on the target label, and in the worst group of target and nuisance; probe trained on the unedited.
    nuisance : float
        Accuracy on the nuisance label of the probe trained on the unedited.
    retrained : float
        Accuracy on the nuisance label of a probe trained on these very embeddings: what they still say.
    """

    embeddings: str
    target: float
    worst: float
    nuisance: float
    retrained: float


@dataclass(frozen=True)
class EditResult:
    """Result of :func:`edit`.

    Attributes
    ----------
    words : tuple of str
        Those that were scaled and occur in at least one code.
    scale : float
    touched : float
        Part of the items whose code has one of the words.
    count, folds : int
    rows : list of ProbeRow
    bad : list of BadRow
    seconds : float
    """

    words: tuple[str, ...]
    scale: float
    touched: float
    count: int
    folds: int
    rows: list[ProbeRow]
    bad: list[BadRow]
    seconds: float

    def report(self, settings: dict[str, object]) -> Report:
        """The finding in words, the table of probes with its plot, and plain values."""
        _, plain, edited, null = self.rows
        verb = "Removing" if self.scale == 0 else f"Scaling by {self.scale:g}"
        rows = [[row.embeddings, row.target, row.worst, row.nuisance, row.retrained] for row in self.rows]
        columns = ["embeddings", "target", "worst group", "nuisance", "nuisance, probe trained anew"]
        series = {"target": [row.target for row in self.rows], "worst group": [row.worst for row in self.rows],
                  "nuisance": [row.nuisance for row in self.rows]}  # fmt: skip
        return Report(
            "edit",
            "Editing concepts out of embeddings",
            f"{verb} {', '.join(self.words) or 'words that no code uses'} changes {self.touched:.0%} of {self.count} "
            f"codes: the nuisance probe goes from {plain.nuisance:.3f} to {edited.nuisance:.3f} (other words: "
            f"{null.nuisance:.3f}), the target probe from {plain.target:.3f} to {edited.target:.3f}.",
            {**settings, "folds": self.folds},
            [Table("Accuracy of linear probes", columns, rows, "Cross-validated; trained on unedited embeddings.")],
            [("Probes", bars("accuracy", [row.embeddings for row in self.rows], series))],
            {key: value for key, value in asdict(self).items() if key not in ("bad", "seconds")},
            self.bad,
            self.seconds,
        )


def scaled_embeddings(engine: Engine, weights: Weights, rows: npt.NDArray[np.integer], scale: float) -> FloatArray:
    """What codes add up to when some words are scaled: ``norm(norm(C^T w') + mu)``.

    Parameters
    ----------
    engine : Engine
    weights : Weights
        Codes of n items.
    rows : (k,) integers
        Dictionary rows of the words.
    scale : float
        Their weights are multiplied by it; 0 removes them, 1 changes nothing.

    Returns
    -------
    (n, d) float32, unit rows
    """
    values = np.where(np.isin(weights.indices, rows), weights.values * scale, weights.values)
    return reconstruct(engine.dictionary, Lists(weights.indptr, weights.indices), values, engine.image_mean)


@door
def edit(
    engine: Engine,
    dataset: Dataset,
    words: Sequence[str],
    *,
    target: str = "label",
    nuisance: str,
    scale: float = 0.0,
    l1_penalty: float | None = None,
    l0: int | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: Progress = silent,
) -> EditResult:
    """Scale or remove words from every code, recompose, and probe before and after.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Images or embeddings.
    words : sequence of str
        Words of the dictionary.
    target, nuisance : str
        The two labels that probes are trained for, see :func:`fastconcept.evaluate.weights.group_values`.
    scale : float
        0 removes.
    l1_penalty, l0
        As in :meth:`fastconcept.engine.Engine.decompose`.
    folds : int
        Cross-validation: every accuracy is over items the probe has not seen.
    seed : int
        Seed of the folds and of the random words.
    progress : callable
        Called with (images done, images).

    Returns
    -------
    EditResult
        Its last row is the null control: as many other words, drawn from those the codes use most, are scaled instead.

    Raises
    ------
    ConceptError
        If a word is not in the dictionary.
    InputError
        If there is no word, or a label has fewer than two values or too few items of one.
    MissingDependencyError
        If scikit-learn is not installed.

    Source: Bhalla et al., arXiv 2402.10376, section 6 (intervening on spurious correlations).
    """
    began = time.perf_counter()
    if not words:
        raise InputError("name at least one word to remove or scale")
    chosen = np.array(sorted({engine.dictionary.index(word) for word in words}), np.int64)
    weights = decompose_dataset(engine, dataset, l1_penalty=l1_penalty, l0=l0, dense=True, progress=progress)
    labels = [np.array([str(v) for v in group_values(weights.items, key)]) for key in (target, nuisance)]
    others = _frequent_words(weights, chosen, seed)
    nothing = np.zeros(0, np.int64)
    kinds = {
        "dense": weights.embeddings,
        "decomposed": scaled_embeddings(engine, weights, nothing, 1.0),
        "edited": scaled_embeddings(engine, weights, chosen, scale),
        "random words edited": scaled_embeddings(engine, weights, others, scale),
    }
    splits = _folds(labels[0], labels[1], folds, seed)
    rows = [
        _probe(name, kinds["dense"] if name == "dense" else kinds["decomposed"], changed, labels, splits)
        for name, changed in kinds.items()
    ]
    touched = np.add.reduceat(np.append(np.isin(weights.indices, chosen), False), weights.indptr[:-1]) > 0
    touched &= np.diff(weights.indptr) > 0
    used = tuple(engine.dictionary.words[int(i)] for i in chosen if (weights.indices == i).any())
    seconds = time.perf_counter() - began
    return EditResult(used, scale, float(touched.mean()), len(weights.items), folds, rows, weights.bad, seconds)


def _frequent_words(weights: Weights, chosen: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """As many other words as were chosen, drawn in proportion to how many items use them."""
    words, counts = np.unique(weights.indices, return_counts=True)
    free = ~np.isin(words, chosen)
    number = min(len(chosen), int(free.sum()))
    share = counts[free] / counts[free].sum()
    drawn = np.random.default_rng(seed).choice(words[free], number, replace=False, p=share)
    return np.sort(drawn).astype(np.int64)


def _folds(
    target: npt.NDArray[np.str_], nuisance: npt.NDArray[np.str_], folds: int, seed: int
) -> npt.NDArray[np.int64]:
    """A fold for every item, the groups of target and nuisance spread evenly."""
    for name, values in (("target", target), ("nuisance", nuisance)):
        distinct, counts = np.unique(values, return_counts=True)
        if len(distinct) < 2 or counts.min() < folds:
            listed = ", ".join(f"{value}: {count}" for value, count in zip(distinct, counts, strict=True))
            raise InputError(f"the {name} needs two values with {folds} items each at least (folds); got {listed}")
    order = np.random.default_rng(seed).permutation(len(target))
    order = order[np.lexsort((nuisance[order], target[order]))]
    fold = np.empty(len(target), np.int64)
    fold[order] = np.arange(len(target)) % folds
    return fold


def _probe(
    name: str,
    plain: FloatArray,
    changed: FloatArray,
    labels: Sequence[npt.NDArray[np.str_]],
    splits: npt.NDArray[np.int64],
) -> ProbeRow:
    """Cross-validated accuracies: probes of the plain embeddings on the changed ones, and one trained on those."""
    target, nuisance = labels
    right = [_hits(plain, changed, values, splits) for values in (target, nuisance)]
    retrained = _hits(changed, changed, nuisance, splits)
    groups = np.char.add(np.char.add(target, "\0"), nuisance)
    worst = min(right[0][groups == group].mean() for group in np.unique(groups))
    return ProbeRow(name, float(right[0].mean()), float(worst), float(right[1].mean()), float(retrained.mean()))


def _hits(
    train: FloatArray, test: FloatArray, labels: npt.NDArray[np.str_], splits: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    hits = np.zeros(len(labels), bool)
    for fold in np.unique(splits):
        held = splits == fold
        probe = library("sklearn.linear_model").LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced")
        hits[held] = probe.fit(train[~held], labels[~held]).predict(test[held]) == labels[held]
    return hits
