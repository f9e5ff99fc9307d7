"""Zero-shot classification from dense embeddings and from the few words they decompose into."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from ..concepts.taxonomy import Taxonomy
from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, embed_all, silent
from ..datasets.items import BadRow, BadRows
from ..doors import door
from ..engine import Engine
from ..errors import ConceptError, InputError
from ..pages.document import Report
from ..pages.plots import Plot, curves, lines
from ..pages.tables import Table
from .metrics import recall_at, true_ranks
from .nulls import control_name, null_columns
from .penalties import Embeddings, Ranks, penalty_sweep, top1_lift
from .vocabularies import vocabulary

FloatArray = npt.NDArray[np.float32]
TEMPLATES = ("a photo of a {}",)


@dataclass(frozen=True)
class ZeroShotRow:
    """Accuracy of one kind of embedding.

    Attributes
    ----------
    kind : str
        ``dense``, or ``decomposed`` at a penalty.
    l1_penalty : float or None
    l0, cosine : float or None
        Mean number of words, and mean cosine between the reconstruction and the embedding.
    top1, top5 : float
    retention : float
        ``top1`` divided by that of the dense embeddings.
    null : dict of control to (l0, top1)
        The same under a null control; for ``random-vocabulary``, which spreads over more words at the same penalty, at
        about the same number of words.
    lift : dict of control to (difference, low, high)
        Top-1 minus the null's, paired bootstrap over images.
    against_dense : (difference, low, high)
        Top-1 minus that of the dense embeddings, the same way.
    dictionary : str
        The words to choose from: ``own`` for the engine's dictionary, or a name of ``dictionaries``.
    """

    kind: str
    l1_penalty: float | None
    l0: float | None
    cosine: float | None
    top1: float
    top5: float
    retention: float
    null: dict[str, tuple[float, float]]
    lift: dict[str, tuple[float, float, float]]
    against_dense: tuple[float, float, float] = (0.0, 0.0, 0.0)
    dictionary: str = "own"


@dataclass(frozen=True)
class ZeroShotResult:
    """Result of :func:`zeroshot`.

    Attributes
    ----------
    classes, count : int
        Number of classes, and of images or embeddings.
    templates : tuple of str
    rows : list of ZeroShotRow
        Dense embeddings first, then one row per penalty.
    others : list of ZeroShotRow
        The rows of further dictionaries, one per penalty each.
    bad : list of BadRow
    seconds : float
    """

    classes: int
    count: int
    templates: tuple[str, ...]
    rows: list[ZeroShotRow]
    others: list[ZeroShotRow]
    bad: list[BadRow]
    seconds: float

    def words_to_keep(self, part: float = 0.95) -> dict[str, float | None]:
        """Fewest words, of those tried, at which a dictionary keeps a part of the dense accuracy; None if at none."""
        kept: dict[str, float | None] = {}
        for row in [*self.rows[1:], *self.others]:
            best = kept.setdefault(row.dictionary, None)
            if row.retention >= part and row.l0 is not None and (best is None or row.l0 < best):
                kept[row.dictionary] = row.l0
        return kept

    def report(self, settings: dict[str, object]) -> Report:
        """The finding in words, the table, accuracy against the number of words, and plain values."""
        dense, *words = self.rows
        finding = f"Dense embeddings are right for {dense.top1:.1%} of {self.count} images in {self.classes} classes"
        if words:
            closest = min(words, key=lambda row: abs((row.l0 or 0) - 30))
            finding += f"; at {closest.l0:.1f} words the decomposed ones keep {closest.retention:.0%} of it"
            told = [
                f"{name} at {'no number of words tried' if at is None else f'{at:.1f} words'}"
                for name, at in self.words_to_keep().items()
            ]
            finding += f". 95 % of it is kept by {', '.join(told)}"
        columns = ["embedding", "l1 penalty", "words (l0)", "cosine", "top-1", "top-5", "part of dense"]
        columns.append("top-1 against dense")
        rows = [
            [*_cells(row), None if row is dense else row.against_dense]
            + [top1 for _, top1 in row.null.values()]
            + list(row.lift.values())
            for row in self.rows
        ]
        tables = [Table("Accuracy against the number of words", [*columns, *null_columns("top-1", dense.null)], rows)]
        if self.others:
            theirs = [[row.dictionary, *_cells(row)[1:], row.against_dense] for row in self.others]
            tables.append(Table("Other dictionaries", ["dictionary", *columns[1:]], theirs))
        series = {"top-1": [row.top1 for row in words], "top-5": [row.top5 for row in words],
                  "cosine": [row.cosine or 0.0 for row in words]}  # fmt: skip
        for control in dense.null:
            series[f"top-1, {control_name(control)}"] = [row.null[control][1] for row in words]
        plot = lines("accuracy", "words per image (l0)", [row.l0 or 0 for row in words], series)
        return Report(
            "zeroshot",
            "Zero-shot classification",
            finding + ".",
            {**settings, "templates": " | ".join(self.templates)},
            tables,
            [("Accuracy and cosine, as in figure 3", self._curves()), ("Against the number of words", plot)],
            {
                "classes": self.classes,
                "count": self.count,
                "words_to_keep_95": self.words_to_keep(),
                "rows": [asdict(row) for row in self.rows],
                "others": [asdict(row) for row in self.others],
            },
            self.bad,
            self.seconds,
        )

    def _curves(self) -> Plot:
        """Accuracy and cosine of every dictionary over the number of words, and the dense accuracy to reach."""
        series: dict[str, tuple[list[float], list[float], list[float]]] = {}
        for row in [*self.rows[1:], *self.others]:
            lists = series.setdefault(row.dictionary, ([], [], []))
            for values, value in zip(lists, (row.l0, row.top1, row.cosine), strict=True):
                values.append(value or 0.0)
        kinds, level = ("top-1", "cosine"), ("dense top-1", self.rows[0].top1)
        return curves("accuracy and cosine", "words per image (l0)", series, kinds, level)


def _cells(row: ZeroShotRow) -> list[object]:
    return [row.kind, row.l1_penalty, row.l0, row.cosine, row.top1, row.top5, row.retention]


def class_embeddings(engine: Engine, classes: Sequence[str], templates: Sequence[str] = TEMPLATES) -> FloatArray:
    """One unit row per class: the normalised mean over templates of the text embeddings.

    Parameters
    ----------
    engine : Engine
    classes : sequence of str
        Class names; a synset or wnid of WordNet is written by its first word.
    templates : sequence of str
        With ``{}`` for the name. ``{definition}`` stands for the definition of a synset, and may be all there is.

    Returns
    -------
    (k, d) float32, unit rows
    """
    names, definitions = zip(*(_words(engine, name) for name in classes), strict=True)
    total: npt.NDArray[np.float64] = np.zeros((len(classes), engine.parts.embedding_dim))
    for template in templates:
        try:
            prompts = [template.format(n, definition=d) for n, d in zip(names, definitions, strict=True)]
        except (KeyError, IndexError, ValueError):
            raise InputError(f"template {template!r} must have {{}} or {{definition}} and nothing else") from None
        total += engine.encode_text(prompts)
    unit: FloatArray = (total / np.linalg.norm(total, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _words(engine: Engine, label: str) -> tuple[str, str]:
    """First word and definition of a synset; a label that is none stands for itself."""
    wordnet = Taxonomy.builtin()
    try:
        meaning = wordnet.resolve(label)
    except ConceptError:
        return label, label
    if meaning.index is None:
        return label, label
    named = meaning.kind in ("synset", "wnid")
    return (wordnet.lemmas(meaning.index, spaces=True)[0] if named else label), wordnet.definitions[meaning.index]


@door
def zeroshot(
    engine: Engine,
    dataset: Dataset,
    *,
    classes: Sequence[str] | None = None,
    templates: Sequence[str] = TEMPLATES,
    l1_penalties: Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35),
    nulls: Sequence[str] = ("random-vocabulary", "shuffled-definitions"),
    dictionaries: Sequence[str] = (),
    captions: Sequence[str] | None = None,
    repeats: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> ZeroShotResult:
    """Classify by the nearest class prompt, dense and decomposed, over a sweep of penalties.

    The reconstruction ``norm(norm(C^T w) + mu)`` takes the place of the embedding, nothing else changes.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Labelled images or embeddings.
    classes : sequence of str, optional
        All classes to choose from; by default the labels that occur.
    templates : sequence of str
        See :func:`class_embeddings`.
    l1_penalties : sequence of float
        Penalties, as in SpLiCE.
    nulls : sequence of str
        Null controls, see :func:`fastconcept.evaluate.nulls.apply_control`.
    dictionaries : sequence of str
        Further words to choose from, see :func:`fastconcept.evaluate.vocabularies.vocabulary`; they have no controls.
    captions : sequence of str, optional
        Texts for the dictionaries *captions* and *bigrams*; by default the dataset's own.
    repeats, seed : int
        Number of bootstrap samples; seed of the bootstrap and of the controls.
    progress : callable
        Called with (images done, images).

    Returns
    -------
    ZeroShotResult

    Raises
    ------
    InputError
        If no item has a label among the classes.

    Source: Bhalla et al., arXiv 2402.10376, section 5.
    """
    began = time.perf_counter()
    part, index, bad = labelled(dataset, classes)
    names = list(index)
    items, images, unreadable = embed_all(engine, part, progress)
    bad.extend(unreadable)
    labels = np.array([index[item.label] for item in items if item.label is not None])
    prompts = partial(class_embeddings, classes=names, templates=templates)
    rows: list[ZeroShotRow] = []
    dense: Ranks | None = None
    for embeddings, controls in penalty_sweep(engine, part, images, prompts, l1_penalties, nulls, seed):
        ranks = true_ranks(embeddings.images @ embeddings.texts.T, labels)
        dense = ranks if dense is None else dense
        rows.append(_row(embeddings, controls, labels, ranks, dense, repeats, seed))
    texts = [text for item in dataset.items for text in item.captions] if captions is None else captions
    others = []
    for name in dictionaries:
        words = vocabulary(engine, name, classes=names, captions=texts, seed=seed)
        other = Embeddings(Engine(engine.parts.replace(dictionary=words)), images, prompts(engine))
        for penalty in l1_penalties:
            coded = other.decomposed(penalty)
            ranks = true_ranks(coded.images @ coded.texts.T, labels)
            assert dense is not None  # the sweep begins with it
            others.append(replace(_row(coded, {}, labels, ranks, dense, repeats, seed), dictionary=name))
    seconds = time.perf_counter() - began
    return ZeroShotResult(len(names), len(items), tuple(templates), rows, others, bad.rows, seconds)


def labelled(dataset: Dataset, classes: Sequence[str] | None) -> tuple[Dataset, dict[str, int], BadRows]:
    """The items whose label is among the classes.

    Parameters
    ----------
    dataset : Dataset
    classes : sequence of str, optional
        All classes; by default the labels that occur.

    Returns
    -------
    dataset, index, bad : Dataset, dict of class to its number, BadRows
        The items whose label is one of the classes, all classes in order, and the rows left out.

    Raises
    ------
    InputError
        If no item has a label among the classes.
    """
    names = classes if classes is not None else sorted({i.label for i in dataset.items if i.label is not None})
    index = {name: k for k, name in enumerate(dict.fromkeys(names))}
    usable, bad = [], dataset.bad_rows()
    for item in dataset.items:
        if item.label in index:
            usable.append(item)
        else:
            bad.add(item.name, f"its label {item.label!r} is none of the {len(index)} classes")
    if not usable:
        raise InputError(f"no item of {dataset.name} has a label among the {len(index)} classes")
    return replace(dataset, items=tuple(usable)), index, bad


def _row(
    embeddings: Embeddings,
    controls: Mapping[str, Embeddings],
    labels: npt.NDArray[np.int64],
    ranks: Ranks,
    dense: Ranks,
    repeats: int,
    seed: int,
) -> ZeroShotRow:
    null, lift = {}, {}
    for control, other in controls.items():
        theirs = true_ranks(other.images @ other.texts.T, labels)
        null[control] = other.l0 or 0.0, recall_at(theirs, 1)
        lift[control] = top1_lift(ranks, theirs, None, repeats, seed)
    top1, all_of_it = recall_at(ranks, 1), recall_at(dense, 1)
    return ZeroShotRow(
        "dense" if embeddings.l0 is None else "decomposed",
        embeddings.l1_penalty,
        embeddings.l0,
        embeddings.cosine,
        top1,
        recall_at(ranks, 5),
        top1 / all_of_it if all_of_it else float("nan"),
        null,
        lift,
        top1_lift(ranks, dense, None, repeats, seed),
    )
