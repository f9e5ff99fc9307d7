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
from ..datasets.items import BadRow
from ..engine import Engine
from ..errors import ConceptError, InputError
from ..pages.document import Report
from ..pages.plots import lines
from ..pages.tables import Table
from .metrics import recall_at, true_ranks
from .nulls import control_name, null_columns
from .penalties import Embeddings, penalty_sweep, top1_lift

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
    bad : list of BadRow
    seconds : float
    """

    classes: int
    count: int
    templates: tuple[str, ...]
    rows: list[ZeroShotRow]
    bad: list[BadRow]
    seconds: float

    def report(self, settings: dict[str, object]) -> Report:
        """The finding in words, the table, accuracy against the number of words, and plain values."""
        dense, *words = self.rows
        finding = f"Dense embeddings are right for {dense.top1:.1%} of {self.count} images in {self.classes} classes"
        if words:
            closest = min(words, key=lambda row: abs((row.l0 or 0) - 30))
            finding += f"; at {closest.l0:.1f} words the decomposed ones keep {closest.retention:.0%} of it"
        columns = ["embedding", "l1 penalty", "words (l0)", "cosine", "top-1", "top-5", "part of dense"]
        rows = [
            [row.kind, row.l1_penalty, row.l0, row.cosine, row.top1, row.top5, row.retention]
            + [top1 for _, top1 in row.null.values()]
            + list(row.lift.values())
            for row in self.rows
        ]
        table = Table("Accuracy against the number of words", [*columns, *null_columns("top-1", dense.null)], rows)
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
            [table],
            [("Against the number of words", plot)],
            {"classes": self.classes, "count": self.count, "rows": [asdict(row) for row in self.rows]},
            self.bad,
            self.seconds,
        )


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


def zeroshot(
    engine: Engine,
    dataset: Dataset,
    *,
    classes: Sequence[str] | None = None,
    templates: Sequence[str] = TEMPLATES,
    l1_penalties: Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35),
    nulls: Sequence[str] = ("random-vocabulary", "shuffled-definitions"),
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
    names = list(classes) if classes is not None else sorted({i.label for i in dataset.items if i.label is not None})
    index = {name: k for k, name in enumerate(names)}
    usable, bad = [], dataset.bad_rows()
    for item in dataset.items:
        if item.label in index:
            usable.append(item)
        else:
            bad.add(item.name, f"its label {item.label!r} is none of the {len(names)} classes")
    if not usable:
        raise InputError(f"no item of {dataset.name} has a label among the {len(names)} classes")
    part = replace(dataset, items=tuple(usable))
    items, images, unreadable = embed_all(engine, part, progress)
    bad.extend(unreadable)
    labels = np.array([index[item.label] for item in items if item.label is not None])
    prompts = partial(class_embeddings, classes=names, templates=templates)
    rows: list[ZeroShotRow] = []
    for embeddings, controls in penalty_sweep(engine, part, images, prompts, l1_penalties, nulls, seed):
        rows.append(_row(embeddings, controls, labels, rows[0].top1 if rows else None, repeats, seed))
    return ZeroShotResult(len(names), len(items), tuple(templates), rows, bad.rows, time.perf_counter() - began)


def _row(
    embeddings: Embeddings,
    controls: Mapping[str, Embeddings],
    labels: npt.NDArray[np.int64],
    dense: float | None,
    repeats: int,
    seed: int,
) -> ZeroShotRow:
    ranks = true_ranks(embeddings.images @ embeddings.texts.T, labels)
    null, lift = {}, {}
    for control, other in controls.items():
        theirs = true_ranks(other.images @ other.texts.T, labels)
        null[control] = other.l0 or 0.0, recall_at(theirs, 1)
        lift[control] = top1_lift(ranks, theirs, None, repeats, seed)
    top1 = recall_at(ranks, 1)
    return ZeroShotRow(
        "dense" if dense is None else "decomposed",
        embeddings.l1_penalty,
        embeddings.l0,
        embeddings.cosine,
        top1,
        recall_at(ranks, 5),
        1.0 if dense is None else top1 / dense if dense else float("nan"),
        null,
        lift,
    )
