"""Out-of-distribution detection: does an image show something below a concept, or something else?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..concepts.taxonomy import Taxonomy
from ..datasets.dataset import Dataset, Progress, embed_all, silent
from ..datasets.items import BadRow
from ..engine import Engine
from ..errors import ConceptError, InputError
from .bootstrap import interval
from .metrics import fpr_at_tpr
from .nulls import NullEngine, apply_control, shuffle

FloatArray = npt.NDArray[np.float32]
SCORES = ("leaves", "definition", "lemmas", "mcm", "neglabel")
_NEGATIVES = 1000


@dataclass(frozen=True)
class OodRow:
    """One score on one pair.

    Attributes
    ----------
    score : str
    auroc, fpr95 : float
        In-distribution images are the positives.
    interval : (low, high)
        95 % bootstrap interval of the AUROC, images of each side resampled.
    null : dict of control to list of AUROC
        One per seed of the control.
    lift : dict of control to (difference, low, high)
        AUROC minus the mean of the null's over its seeds, images resampled for both alike.
    """

    score: str
    auroc: float
    fpr95: float
    interval: tuple[float, float]
    null: dict[str, list[float]]
    lift: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class OodResult:
    """Result of :func:`detect`: one row per score.

    Attributes
    ----------
    inside, outside : str
        Concept below which images are in-distribution; what the others are called.
    counts : (int, int)
        Images of each side.
    rows : list of OodRow
    values : dict of score to (scores inside, scores outside)
    bad : list of BadRow
    seconds : float
    """

    inside: str
    outside: str
    counts: tuple[int, int]
    rows: list[OodRow]
    values: dict[str, tuple[FloatArray, FloatArray]]
    bad: list[BadRow]
    seconds: float


def scores(
    engine: Engine,
    embeddings: FloatArray,
    concept: str,
    names: Sequence[str] = SCORES,
    template: str = "a photo of a {}",
) -> dict[str, FloatArray]:
    """How much images belong below a concept, by several scores; high means in-distribution.

    Parameters
    ----------
    engine : Engine
    embeddings : (n, d) float32
        Unit rows of images.
    concept : str
        A synset or wnid of the bank.
    names : sequence of {"leaves", "definition", "lemmas", "mcm", "neglabel"}
        With z the cosine, L the leaves below the concept, tau = 1 / exp(logit scale):

        *leaves*: largest z over L (ConVis). *definition*: z of the concept's own definition. *lemmas*: largest z
        over prompts with the concept's words. *mcm*: largest softmax probability over L at temperature tau (Ming et
        al., arXiv 2211.13445). *neglabel*: softmax mass of L against L and the 1,000 leaves of the bank that are
        farthest from it, at tau (Jiang et al., arXiv 2403.20078; negatives mined from the bank's own leaves).
    template : str
        Of the lemmas' prompts.

    Returns
    -------
    dict of name to (n,) float32

    Raises
    ------
    ConceptError
        If the concept is not in the bank.
    InputError
        If a score is unknown.
    """
    unknown = sorted(set(names) - set(SCORES))
    if unknown:
        raise InputError(f"unknown score {unknown[0]!r}; there are: {', '.join(SCORES)}")
    bank, scale = engine.bank, engine.bundle.manifest.logit_scale
    leaves = bank.leaves(concept)
    near = embeddings @ bank.embeddings[leaves].T
    found: dict[str, FloatArray] = {}
    for name in names:
        if name == "leaves":
            found[name] = near.max(axis=1)
        elif name == "definition":
            found[name] = embeddings @ bank.embeddings[bank.index(concept)]
        elif name == "lemmas":
            prompts = _prompts(bank, _named(engine, concept), template)
            found[name] = (embeddings @ engine.encode_text(prompts).T).max(axis=1)
        elif name == "mcm":
            found[name] = _softmax(near * np.float32(scale)).max(axis=1)
        else:
            far = embeddings @ bank.embeddings[negatives(bank, leaves)].T
            both = np.concatenate([near, far], axis=1)
            found[name] = _softmax(both * np.float32(scale))[:, : len(leaves)].sum(axis=1)
    return found


def _named(engine: Engine, concept: str) -> str:
    """The concept whose words are used: itself, or under a control the one that stands in its place."""
    if not isinstance(engine, NullEngine):
        return concept
    bank = engine.bank
    other = int(shuffle(len(bank), engine.seed)[bank.index(concept)])
    return bank.names[other]


def _prompts(bank: ConceptBank, concept: str, template: str) -> list[str]:
    taxonomy, index = bank.taxonomy, bank.index(concept)
    words = [concept] if taxonomy is None else taxonomy.lemmas(index, spaces=True)
    return [template.format(word) for word in words]


def negatives(bank: ConceptBank, members: npt.NDArray[np.int32], count: int = _NEGATIVES) -> npt.NDArray[np.int64]:
    """Leaves of the bank that are least like some of its rows: NegMining of arXiv 2403.20078, section 3.2.

    Parameters
    ----------
    bank : ConceptBank
    members : (m,) int32
        Rows of the in-distribution concepts.
    count : int
        How many at most.

    Returns
    -------
    (at most count,) int64
        Those whose 95th percentile of cosines with the members is lowest, by rising percentile.
    """
    taxonomy = bank.taxonomy
    rows = np.arange(len(bank))
    if taxonomy is not None:
        rows = rows[np.diff(taxonomy.child_indptr) == 0]
    rows = np.setdiff1d(rows, members)
    closeness = np.quantile(bank.embeddings[rows] @ bank.embeddings[members].T, 0.95, axis=1)
    nearest: npt.NDArray[np.int64] = rows[np.argsort(closeness, kind="stable")[:count]]
    return nearest


def _softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    share: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return share


def detect(
    engine: Engine,
    dataset: Dataset,
    inside: str,
    outside: str | None = None,
    *,
    names: Sequence[str] = SCORES,
    nulls: Sequence[str] = ("shuffled-definitions", "random-vocabulary"),
    null_seeds: int = 10,
    repeats: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> OodResult:
    """Tell images below one concept from the others, by several scores and by the same scores without meaning.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Labelled images or embeddings. Labels are synsets, wnids or words; those below ``inside`` are
        in-distribution.
    inside : str
        The in-distribution concept.
    outside : str, optional
        Keep only labels below this concept on the other side; None keeps all others.
    names : sequence of str
        See :func:`scores`.
    nulls, null_seeds : sequence of str, int
        Controls of :func:`fastconcept.evaluate.nulls.apply_control`, and how many seeds of each.
    repeats, seed : int
        Of the bootstrap.
    progress : callable

    Returns
    -------
    OodResult

    Raises
    ------
    InputError
        If a side has no image.

    Source: Giulivi & Boracchi, arXiv 2405.14563, section 5 (out-of-distribution detection).
    """
    began = time.perf_counter()
    bad = dataset.bad_rows()
    sides, unknown = split(dataset, inside, outside)
    bad.extend(unknown)
    kept = replace(dataset, items=tuple(item for item in dataset.items if item.name in sides))
    if not any(sides.values()) or all(sides.values()):
        empty = "in-distribution" if not any(sides.values()) else "out-of-distribution"
        raise InputError(f"{dataset.name} has no {empty} image for {inside} against {outside or 'everything else'}")
    items, embeddings, unreadable = embed_all(engine, kept, progress)
    bad.extend(unreadable)
    within = np.array([sides[item.name] for item in items])
    found = scores(engine, embeddings, inside, names)
    empty_scores = _null_scores(engine, kept, embeddings, inside, names, nulls, null_seeds)
    draws = _Draws.of(within, repeats, seed)
    rows = [_row(name, values, within, {c: [s[name] for s in seeds] for c, seeds in empty_scores.items()}, draws)
            for name, values in found.items()]  # fmt: skip
    return OodResult(
        inside,
        outside or "everything else",
        (int(within.sum()), int((~within).sum())),
        rows,
        {name: (values[within], values[~within]) for name, values in found.items()},
        bad.rows,
        time.perf_counter() - began,
    )


def split(dataset: Dataset, inside: str, outside: str | None) -> tuple[dict[str, bool], list[BadRow]]:
    """Item name to True (label below ``inside``) or False (below ``outside``), by WordNet as a whole; and bad rows.

    Labels that name no synset are bad rows; those on neither side are left out.

    Raises
    ------
    ConceptError
        If a side is not a concept of WordNet.
    InputError
        If one side lies below the other.
    """
    wordnet = Taxonomy.builtin()
    ours = set(wordnet.subtree(wordnet.index(inside)).tolist())
    theirs = None if outside is None else set(wordnet.subtree(wordnet.index(outside)).tolist())
    if theirs is not None and ours & theirs:
        raise InputError(f"{inside} and {outside} share {len(ours & theirs)} concepts; nothing can tell them apart")
    nodes: dict[str, int | None] = {}
    sides: dict[str, bool] = {}
    bad: list[BadRow] = []
    for item in dataset.items:
        label = item.label or ""
        if label not in nodes:
            try:
                nodes[label] = wordnet.resolve(label).index
            except ConceptError:
                nodes[label] = None
        node = nodes[label]
        if node is None:
            bad.append(BadRow(item.name, f"its label {label!r} is not a concept of WordNet"))
        elif node in ours or theirs is None or node in theirs:
            sides[item.name] = node in ours
    return sides, bad


def _null_scores(
    engine: Engine,
    dataset: Dataset,
    embeddings: FloatArray,
    inside: str,
    names: Sequence[str],
    nulls: Sequence[str],
    null_seeds: int,
) -> Mapping[str, list[dict[str, FloatArray]]]:
    found: dict[str, list[dict[str, FloatArray]]] = {}
    for control in nulls:
        for seed in range(null_seeds):
            null = apply_control(engine, control, seed)
            rows = embed_all(null, dataset).rows if control == "random-encoder" else embeddings
            found.setdefault(control, []).append(scores(null, rows, inside, names))
    return found


@dataclass(frozen=True)
class _Draws:
    """Bootstrap samples: how often each image of a side is drawn in each of them; the first has all of them once."""

    within: npt.NDArray[np.bool_]
    inside: npt.NDArray[np.float64]
    outside: npt.NDArray[np.float64]

    @classmethod
    def of(cls, within: npt.NDArray[np.bool_], repeats: int, seed: int) -> _Draws:
        generator, counts = np.random.default_rng(seed), []
        for size in (int(within.sum()), int((~within).sum())):
            drawn = generator.multinomial(size, np.full(size, 1 / size), repeats).astype(np.float64)
            counts.append(np.concatenate([np.ones((1, size)), drawn]))
        return cls(within, counts[0], counts[1])

    def areas(self, values: FloatArray) -> npt.NDArray[np.float64]:
        """AUROC in every sample, (1 + repeats,); the first is that of the images as they are."""
        inside, outside = values[self.within], values[~self.within]
        order = np.argsort(outside)
        below = np.concatenate([np.zeros((len(self.outside), 1)), self.outside[:, order].cumsum(axis=1)], axis=1)
        ends = [np.searchsorted(outside[order], inside, side) for side in ("left", "right")]
        passed = (below[:, ends[0]] + below[:, ends[1]]) / 2
        areas: npt.NDArray[np.float64] = (passed * self.inside).sum(axis=1) / (len(inside) * len(outside))
        return areas


def _row(
    name: str,
    values: FloatArray,
    within: npt.NDArray[np.bool_],
    nulls: Mapping[str, list[FloatArray]],
    draws: _Draws,
) -> OodRow:
    ours, areas, lifts = draws.areas(values), {}, {}
    for control, seeds in nulls.items():
        theirs = np.stack([draws.areas(scored) for scored in seeds])
        areas[control] = theirs[:, 0].tolist()
        difference = ours - theirs.mean(axis=0)
        lifts[control] = (float(difference[0]), *interval(difference[1:]))
    false = fpr_at_tpr(values[within], values[~within])
    return OodRow(name, float(ours[0]), false, interval(ours[1:]), areas, lifts)
