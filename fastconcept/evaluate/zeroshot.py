"""Zero-shot classification from dense embeddings and from the few words they decompose into."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset, Progress, embed_all, silent
from ..datasets.items import BadRow
from ..engine import Engine
from ..errors import InputError
from .bootstrap import paired_bootstrap
from .metrics import recall_at, true_ranks
from .nulls import apply_control
from .weights import penalty_for

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
    kept : float
        ``top1`` divided by that of the dense embeddings.
    null : dict of control to (l0, top1)
        The same with a control; for ``random-vocabulary``, which spreads over more words at the same penalty, at
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
    kept: float
    null: dict[str, tuple[float, float]]
    lift: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class ZeroShotResult:
    """Result of :func:`classify`: the dense row first, then one row per penalty."""

    classes: int
    count: int
    templates: tuple[str, ...]
    rows: list[ZeroShotRow]
    bad: list[BadRow]
    seconds: float


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
    total: npt.NDArray[np.float64] = np.zeros((len(classes), engine.bundle.manifest.embedding_dim))
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
    from ..concepts.taxonomy import Taxonomy
    from ..errors import ConceptError

    wordnet = Taxonomy.builtin()
    try:
        meaning = wordnet.resolve(label)
    except ConceptError:
        return label, label
    if meaning.index is None:
        return label, label
    named = meaning.kind in ("synset", "wnid")
    return (wordnet.lemmas(meaning.index, spaces=True)[0] if named else label), wordnet.definitions[meaning.index]


def classify(
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
        Controls run beside it.
    repeats, seed : int
        Of the bootstrap, and the seed of the controls.
    progress : callable

    Returns
    -------
    ZeroShotResult
        The reconstruction ``norm(norm(C^T w) + mu)`` takes the place of the embedding, nothing else changes.

    Raises
    ------
    InputError
        If no item has a label among the classes.

    Source: Bhalla et al., arXiv 2402.10376, section 5.
    """
    began = time.perf_counter()
    chosen = list(classes) if classes is not None else sorted({i.label for i in dataset.items if i.label is not None})
    index = {name: k for k, name in enumerate(chosen)}
    usable, bad = [], dataset.bad_rows()
    for item in dataset.items:
        if item.label in index:
            usable.append(item)
        else:
            bad.add(item.name, f"its label {item.label!r} is none of the {len(chosen)} classes")
    if not usable:
        raise InputError(f"no item of {dataset.name} has a label among the {len(chosen)} classes")
    part = replace(dataset, items=tuple(usable))
    items, embeddings, unreadable = embed_all(engine, part, progress)
    bad.extend(unreadable)
    labels = np.array([index[item.label] for item in items if item.label is not None])
    prompts = class_embeddings(engine, chosen, templates)
    null_engines = {control: apply_control(engine, control, seed) for control in nulls}
    null_rows = {
        control: embed_all(null, part).rows if control == "random-encoder" else embeddings
        for control, null in null_engines.items()
    }
    null_prompts = {control: class_embeddings(null, chosen, templates) for control, null in null_engines.items()}

    def row(penalty: float | None, dense: float | None) -> ZeroShotRow:
        ranks, l0, cosine = _ranks(engine, embeddings, prompts, labels, penalty)
        hits = (ranks < 1).astype(np.float64)[:, None]
        null, lift = {}, {}
        for control, other in null_engines.items():
            same = penalty
            if control == "random-vocabulary" and l0 is not None:
                same = penalty_for(other, null_rows[control], l0)
            theirs, words, _ = _ranks(other, null_rows[control], null_prompts[control], labels, same)
            null[control] = (words or 0.0, recall_at(theirs, 1))
            lift[control] = paired_bootstrap(hits, (theirs < 1).astype(np.float64)[:, None], None, None, repeats, seed)
        top1 = recall_at(ranks, 1)
        kept = 1.0 if dense is None else top1 / dense if dense else float("nan")
        kind = "dense" if penalty is None else "decomposed"
        return ZeroShotRow(kind, penalty, l0, cosine, top1, recall_at(ranks, 5), kept, null, lift)

    rows = [row(None, None)]
    rows += [row(penalty, rows[0].top1) for penalty in l1_penalties]
    seconds = time.perf_counter() - began
    return ZeroShotResult(len(chosen), len(items), tuple(templates), rows, bad.rows, seconds)


def _ranks(
    engine: Engine,
    embeddings: FloatArray,
    prompts: FloatArray,
    labels: npt.NDArray[np.int64],
    penalty: float | None,
) -> tuple[npt.NDArray[np.int64], float | None, float | None]:
    """Rank of the right class for every embedding, mean number of words, mean cosine."""
    if penalty is None:
        return true_ranks(embeddings @ prompts.T, labels), None, None
    words = engine.decompose(embeddings=embeddings, l1_penalty=penalty)
    ranks = true_ranks(words.embeddings @ prompts.T, labels)
    return ranks, float(words.l0.mean()), float(words.cosine.mean())
