"""Linear probes: how much of a label is in dense embeddings, in what words add up to, and in the codes themselves?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, embed_all, silent
from ..datasets.items import BadRow, BadRows, Item
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..pages.document import Report
from ..pages.plots import Plot, bars, lines
from ..pages.tables import Table
from ..sparse.result import Decompositions
from .bootstrap import paired_bootstrap
from .nulls import apply_control
from .penalties import penalty_for
from .probes import Probes, fitted, folds_of
from .vocabularies import spoken
from .weights import group_values

FloatArray = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]
Labels = npt.NDArray[np.str_]
Lift = tuple[float, float, float]
CODES = "codes"
NULLS = ("random vocabulary", "random projection", "shuffled labels")
_DRAWN_CLASSES, _DRAWN_WORDS = 8, 2  # in the picture of words: there is room for no more names


@dataclass(frozen=True)
class ProbeRow:
    """A probe of one kind of input.

    Attributes
    ----------
    input : str
        ``dense``; ``recomposed``, what the words add up to; ``codes``, the weights of the words; ``dense to
        recomposed`` and ``recomposed to dense``, trained on one and tested on the other; or a null control. Those are
        codes over a ``random vocabulary``, as many random directions as the dictionary has words, at as many words; a
        ``random projection`` of dense embeddings to as many numbers as a code has words; and codes with ``shuffled
        labels``.
    l1_penalty, asked, l0 : float, int, float or None
        The penalty or the number of words asked for, and the mean number of words.
    accuracy, worst : float
        Over items that the probe was not trained on; ``worst`` is that of the worst group.
    per_class : dict of class to float
        Accuracy on the items of each class.
    used : int or None
        Words that at least one code uses.
    against_dense, against_codes : (difference, low, high)
        Accuracy minus that of the probe on dense embeddings, and on the codes of the same sparsity; paired bootstrap
        over items. Of a dense row, ``against_codes`` is nan.
    """

    input: str
    l1_penalty: float | None
    asked: int | None
    l0: float | None
    accuracy: float
    worst: float
    per_class: dict[str, float]
    used: int | None
    against_dense: Lift
    against_codes: Lift


@dataclass(frozen=True)
class ClassWords:
    """The words that carry a class.

    Attributes
    ----------
    label : str
    count, used : int
        Items of the class, and words that their codes use.
    words : list of (word, coefficient, contribution)
        The words that add most to the class's score: the coefficient of a probe on all codes, and that times the mean
        weight of the word over the items of the class.
    """

    label: str
    count: int
    used: int
    words: list[tuple[str, float, float]]


@dataclass(frozen=True)
class ProbeResult:
    """Result of :func:`probe`.

    Attributes
    ----------
    target : str
    count, folds : int
        Number of items, and of folds.
    groups : str
        What the groups of ``worst`` are.
    rows : list of ProbeRow
        Dense first, then all inputs for each sparsity.
    classes : list of ClassWords
        At the sparsity of the best probe on codes.
    words_at : float
        Mean number of words there.
    bad : list of BadRow
    seconds : float
    """

    target: str
    count: int
    folds: int
    groups: str
    rows: list[ProbeRow]
    classes: list[ClassWords]
    words_at: float
    bad: list[BadRow]
    seconds: float

    def report(self, settings: dict[str, object]) -> Report:
        """The finding in words, a table of probes, one of classes, the words that carry each, and their pictures."""
        dense, *others = self.rows
        best = max((row for row in others if row.input == CODES), key=lambda row: row.accuracy)
        finding = (
            f"A linear probe for {self.target} is right for {dense.accuracy:.1%} of {self.count} items from dense "
            f"embeddings and for {best.accuracy:.1%} from the weights of {best.l0 or 0:.1f} words "
            f"(of {best.used} in use)"
        )
        columns = ["input", "l1 penalty", "words (l0)", "words used", "accuracy", f"worst {self.groups}"]
        columns += ["against dense", "against codes"]
        rows = [_cells(row) for row in self.rows]
        note = (
            f"Logistic regression, {self.folds} folds, C chosen by cross-validation within each; the same for all "
            "inputs. Differences of accuracy have a 95 % paired bootstrap interval over items."
        )
        return Report(
            "probe",
            "Linear probes on codes",
            finding + ".",
            {**settings, "target": self.target, "folds": self.folds},
            [Table("Accuracy of linear probes", columns, rows, note), self._class_table(best), self._word_table()],
            self._plots(best),
            {key: value for key, value in asdict(self).items() if key not in ("bad", "seconds")},
            self.bad,
            self.seconds,
        )

    def _class_table(self, best: ProbeRow) -> Table:
        """Every class's accuracy, dense and by codes."""
        dense = self.rows[0].per_class
        rows = [
            [each.label, each.count, each.used, dense[each.label], best.per_class[each.label]] for each in self.classes
        ]
        columns = ["class", "items", "words used", "accuracy, dense", f"accuracy, {self.words_at:.1f} words"]
        return Table("Classes", columns, rows)

    def _word_table(self) -> Table:
        rows = [
            [each.label, ", ".join(f"{word} {share:+.2f} ({factor:+.1f})" for word, factor, share in each.words)]
            for each in self.classes
        ]
        return Table(
            "The words that carry a class",
            ["class", "words: contribution (coefficient)"],
            rows,
            "A word's contribution to the score of a class is its coefficient times its mean weight over the items of "
            "the class; both are for weights scaled to a mean squared length of one.",
        )

    def _plots(self, best: ProbeRow) -> list[tuple[str, Plot]]:
        named = [
            (f"{word} ({spoken(each.label)})", share)
            for each in self.classes[:_DRAWN_CLASSES]
            for word, _, share in each.words[:_DRAWN_WORDS]
        ]
        several = len({row.l0 for row in self.rows if row.input == CODES}) > 1
        plots = []
        if several:
            kinds = list(dict.fromkeys(row.input for row in self.rows[1:] if " to " not in row.input))
            swept = {kind: [row.accuracy for row in self.rows if row.input == kind] for kind in kinds}
            words = [row.l0 or 0.0 for row in self.rows if row.input == CODES]
            series = {"dense": [self.rows[0].accuracy] * len(words), **swept}
            plots.append(
                ("Accuracy against the number of words", lines("accuracy", "words per item (l0)", words, series))
            )
        if named:
            shares = {"contribution": [max(share, 0.0) for _, share in named]}
            plots.append(("The words that carry a class", bars("contribution", [label for label, _ in named], shares)))
        return plots


def _cells(row: ProbeRow) -> list[object]:
    """A row of the table; nothing is compared with itself."""
    dense = None if row.l0 is None else row.against_dense
    codes = None if row.l0 is None or row.input == CODES else row.against_codes
    return [row.input, row.l1_penalty, row.l0, row.used, row.accuracy, row.worst, dense, codes]


@door
def probe(
    engine: Engine,
    dataset: Dataset,
    *,
    target: str = "label",
    nuisance: str | None = None,
    l1_penalties: Sequence[float] = (0.05, 0.15, 0.25, 0.35),
    l0s: Sequence[int] = (),
    folds: int = 5,
    top: int = 8,
    repeats: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> ProbeResult:
    """Logistic regression on dense rows, on recomposed rows and on sparse codes, which stay sparse, over a sweep.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Labelled images or embeddings.
    target : str
        The label that probes are trained for, see :func:`fastconcept.evaluate.weights.group_values`.
    nuisance : str, optional
        Groups of ``worst`` are those of target and nuisance; without it they are the classes.
    l1_penalties : sequence of float
        Penalties, as in SpLiCE.
    l0s : sequence of int
        Numbers of words instead; then the penalties are not used.
    folds : int
        Every accuracy is over items that the probe was not trained on. A class with fewer items has one in as many
        folds.
    top : int
        Words listed for each class.
    repeats, seed : int
        Number of bootstrap samples; seed of folds, bootstrap and controls.
    progress : callable
        Called with (images done, images), then with (sparsities done, sparsities).

    Returns
    -------
    ProbeResult
        Items without a value, and those of a class with fewer than two items, are listed as bad rows.

    Raises
    ------
    InputError
        If there are fewer than two classes of two items, no sparsity, or fewer than two folds.
    MissingDependencyError
        If scikit-learn or SciPy is not installed.

    Source: Bhalla et al., arXiv 2402.10376, section 5 (probes trained on CLIP embeddings).
    """
    began = time.perf_counter()
    sparsities: list[dict[str, Any]] = [{"l0": l0} for l0 in l0s] or [{"l1_penalty": p} for p in l1_penalties]
    if not sparsities or folds < 2:
        raise InputError(f"a probe needs a penalty or a number of words, and two folds; got {folds} folds")
    bad = dataset.bad_rows()
    items, images, unreadable = embed_all(engine, dataset, progress)
    bad.extend(unreadable)
    items, images, labels, groups = _usable(items, images, target, nuisance, bad)
    trial = _Trial(labels, groups, folds_of(labels, folds, seed), repeats, seed)
    dense = trial.probes(images)
    right = dense.right(images)
    rows = [trial.row("dense", right, right, None)]
    best: tuple[float, Decompositions] | None = None
    for done, sparsity in enumerate(sparsities, 1):
        words = engine.decompose(embeddings=images, **sparsity)
        found = trial.rows(engine, images, words, dense, sparsity)
        rows += found
        accuracy = next(row.accuracy for row in found if row.input == CODES)
        if best is None or accuracy > best[0]:
            best = accuracy, words
        progress(done, len(sparsities))
    assert best is not None  # there is a sparsity
    classes = list(_class_words(best[1], labels, top, seed))
    what = "class" if nuisance is None else f"group of {target} and {nuisance}"
    seconds = time.perf_counter() - began
    return ProbeResult(target, len(items), folds, what, rows, classes, float(best[1].l0.mean()), bad.rows, seconds)


def _usable(
    items: Sequence[Item], images: FloatArray, target: str, nuisance: str | None, bad: BadRows
) -> tuple[list[Item], FloatArray, Labels, Labels]:
    """The items with a class of two items at least, their embeddings, classes and groups."""
    values = group_values(items, target)
    others = values if nuisance is None else group_values(items, nuisance)
    known = [value is not None and other is not None for value, other in zip(values, others, strict=True)]
    names, counts = np.unique([str(v) for v, there in zip(values, known, strict=True) if there], return_counts=True)
    many = dict(zip(names.tolist(), counts.tolist(), strict=True))
    kept = []
    for k, item in enumerate(items):
        if not known[k]:
            bad.add(item.name, f"it has no {target if values[k] is None else nuisance}")
        elif many[str(values[k])] < 2:
            bad.add(item.name, f"its class {values[k]!r} has no other item")
        else:
            kept.append(k)
    labels = np.array([str(values[k]) for k in kept])
    if len(set(labels.tolist())) < 2:
        listed = ", ".join(f"{name}: {count}" for name, count in many.items()) or "none"
        raise InputError(f"a probe needs two classes of {target} with two items each at least; got {listed}")
    groups = labels if nuisance is None else np.array([f"{values[k]}\0{others[k]}" for k in kept])
    return [items[k] for k in kept], images[kept], labels, groups


@dataclass(frozen=True)
class _Trial:
    """What all probes of a run share: classes, groups, folds, and the bootstrap."""

    labels: Labels
    groups: Labels
    fold: npt.NDArray[np.int64]
    repeats: int
    seed: int

    def rows(
        self, engine: Engine, images: FloatArray, words: Decompositions, dense: Probes, sparsity: dict[str, Any]
    ) -> list[ProbeRow]:
        """Everything at one sparsity: codes, recomposed rows, the two crossings, and the controls."""
        recomposed = self.probes(words.embeddings)
        unnamed = self._unnamed(engine, images, words, sparsity)
        generator = np.random.default_rng(self.seed)
        width = max(1, round(float(words.l0.mean())))
        few = images @ generator.standard_normal((images.shape[1], width)).astype(np.float32)
        mixed = replace(self, labels=generator.permutation(self.labels))
        rights = {
            CODES: self.probes(words.to_scipy()).right(words.to_scipy()),
            "recomposed": recomposed.right(words.embeddings),
            "dense to recomposed": dense.right(words.embeddings),
            "recomposed to dense": recomposed.right(images),
            NULLS[0]: self.probes(unnamed.to_scipy()).right(unnamed.to_scipy()),
            NULLS[1]: self.probes(few).right(few),
            NULLS[2]: mixed.probes(words.to_scipy()).right(words.to_scipy()),
        }
        rows = []
        for name, right in rights.items():
            codes = {NULLS[0]: unnamed, NULLS[1]: None}.get(name, words)
            row = self.row(name, right, dense.right(images), rights[CODES])
            used = None if codes is None else len(np.unique(codes.codes.indices))
            l0 = float(width if codes is None else codes.l0.mean())
            rows.append(replace(row, l1_penalty=sparsity.get("l1_penalty"), asked=sparsity.get("l0"), l0=l0, used=used))
        return rows

    def _unnamed(
        self, engine: Engine, images: FloatArray, words: Decompositions, sparsity: dict[str, Any]
    ) -> Decompositions:
        """Codes over random directions, of about as many words."""
        chance = apply_control(engine, "random-vocabulary", self.seed)
        if "l0" not in sparsity:
            sparsity = {"l1_penalty": penalty_for(chance, images, float(words.l0.mean()))}
        codes: Decompositions = chance.decompose(embeddings=images, **sparsity)
        return codes

    def probes(self, rows: Any) -> Probes:
        """A probe for each fold."""
        return Probes(rows, self.labels, self.fold, self.seed)

    def row(self, name: str, right: Float, dense: Float, codes: Float | None) -> ProbeRow:
        """The accuracies of a probe, and their differences."""
        per_class = {str(label): float(right[self.labels == label].mean()) for label in np.unique(self.labels)}
        worst = min(float(right[self.groups == group].mean()) for group in np.unique(self.groups))
        over = (np.nan, np.nan, np.nan) if codes is None else self._lift(right, codes)
        accuracy = float(right.mean())
        return ProbeRow(name, None, None, None, accuracy, worst, per_class, None, self._lift(right, dense), over)

    def _lift(self, ours: Float, theirs: Float) -> Lift:
        return paired_bootstrap(ours[:, None], theirs[:, None], None, None, self.repeats, self.seed)


def _class_words(words: Decompositions, labels: Labels, top: int, seed: int) -> Iterator[ClassWords]:
    """For every class, the words of largest contribution to its score by a probe of all codes."""
    codes = words.to_scipy()
    model, scale = fitted(codes, labels, seed)
    coefficients = model.coef_ if len(model.classes_) > 2 else np.concatenate([-model.coef_, model.coef_])
    for label, row in zip(model.classes_, coefficients, strict=True):
        mine = np.flatnonzero(labels == label)
        mean = np.asarray(codes[mine].mean(axis=0)).ravel() * scale
        shares = row * mean
        order = np.argsort(-shares, kind="stable")[:top]
        listed = [(words.dictionary.words[i], float(row[i]), float(shares[i])) for i in order if shares[i] > 0]
        yield ClassWords(str(label), len(mine), int((mean > 0).sum()), listed)
