"""Out-of-distribution detection: does an image show something below a concept, or something else?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..concepts.taxonomy import Taxonomy
from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, embed_all, silent
from ..datasets.items import BadRow
from ..doors import door
from ..engine import Engine
from ..errors import ConceptError, InputError
from ..pages.document import Report
from ..pages.plots import bars
from ..pages.tables import Table
from .bootstrap import bootstrap
from .libraries import library
from .metrics import auroc, fpr_at_tpr, weighted_auroc
from .nulls import null_columns, shuffle, under_control

FloatArray = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]
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
        One per seed of the null control.
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
    """Result of :func:`ood`: one row per score.

    Attributes
    ----------
    inside, outside : str
        Concept below which images are in-distribution; what the others are called.
    counts : (int, int)
        Numbers of images of each side.
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

    @property
    def title(self) -> str:
        """Both sides, as in ``bird.n.01 / hunting_dog.n.01``."""
        return f"{self.inside} / {self.outside}"

    def report(self, settings: dict[str, object]) -> Report:
        """The report of this pair alone; see :func:`report`."""
        return report([self], settings)


def report(results: Sequence[OodResult], settings: dict[str, object]) -> Report:
    """The report of one or more pairs with the same scores and controls: finding, table, plot, plain values."""
    first = results[0].rows[0]
    columns = ["in / out", "images", "score", "AUROC", "95 % interval", "FPR95", *null_columns("AUROC", first.null)]
    rows = [
        [
            pair.title,
            f"{pair.counts[0]} / {pair.counts[1]}",
            row.score,
            row.auroc,
            f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
            row.fpr95,
            *(f"{np.mean(areas):.3f} ({max(areas):.3f})" for areas in row.null.values()),
            *row.lift.values(),
        ]
        for pair in results
        for row in pair.rows
    ]
    seeds = max(map(len, first.null.values()), default=0)
    note = f"Positives are in-distribution. Nulls: mean over {seeds} seeds, the highest in brackets."
    above = sum(all(low > 0 for _, low, _ in pair.rows[0].lift.values()) for pair in results)
    labels = [pair.title.replace(".n.01", "").replace(".n.02", "") for pair in results]
    series = {row.score: [pair.rows[k].auroc for pair in results] for k, row in enumerate(results[0].rows)}
    return Report(
        "ood",
        "Out-of-distribution detection",
        f"Largest leaf similarity is above every null with its whole 95 % interval on {above} of {len(results)} pairs.",
        settings,
        [Table("Scores on each pair", columns, rows, note)],
        [("AUROC by pair and score", bars("AUROC", labels, series))],
        {
            "pairs": [
                {
                    "inside": pair.inside,
                    "outside": pair.outside,
                    "counts": pair.counts,
                    "rows": [asdict(row) for row in pair.rows],
                }
                for pair in results
            ]
        },
        list(dict.fromkeys(row for pair in results for row in pair.bad)),
        sum(pair.seconds for pair in results),
    )


def scores(
    engine: Engine,
    embeddings: FloatArray,
    concept: str,
    names: Sequence[str] = SCORES,
    template: str = "a photo of a {}",
    words_of: str | None = None,
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
        Prompt of the lemmas.
    words_of : str, optional
        Concept whose words *lemmas* takes, instead of the concept itself.

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
    softmax = library("scipy.special").softmax
    values: dict[str, FloatArray] = {}
    for name in names:
        if name == "leaves":
            values[name] = near.max(axis=1)
        elif name == "definition":
            values[name] = embeddings @ bank.embeddings[bank.index(concept)]
        elif name == "lemmas":
            prompts = _prompts(bank, words_of or concept, template)
            values[name] = (embeddings @ engine.encode_text(prompts).T).max(axis=1)
        elif name == "mcm":
            values[name] = softmax(near * np.float32(scale), axis=1).max(axis=1)
        else:
            far = embeddings @ bank.embeddings[negatives(bank, leaves)].T
            both = np.concatenate([near, far], axis=1)
            values[name] = softmax(both * np.float32(scale), axis=1)[:, : len(leaves)].sum(axis=1)
    return values


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


@door
def ood(
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
        Null controls, see :func:`fastconcept.evaluate.nulls.apply_control`, and the number of seeds of each.
    repeats, seed : int
        Number of bootstrap samples, and their seed.
    progress : callable
        Called with (images done, images).

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
    part = replace(dataset, items=tuple(item for item in dataset.items if item.name in sides))
    if not any(sides.values()) or all(sides.values()):
        empty = "in-distribution" if not any(sides.values()) else "out-of-distribution"
        raise InputError(f"{dataset.name} has no {empty} image for {inside} against {outside or 'everything else'}")
    items, embeddings, unreadable = embed_all(engine, part, progress)
    bad.extend(unreadable)
    within = np.array([sides[item.name] for item in items])
    values = scores(engine, embeddings, inside, names)
    null_values: dict[str, list[dict[str, FloatArray]]] = {control: [] for control in nulls}
    for control in null_values:
        for null_seed in range(null_seeds):
            null, images = under_control(engine, part, embeddings, control, null_seed)
            other = null.bank.names[int(shuffle(len(null.bank), null_seed)[null.bank.index(inside)])]
            null_values[control].append(scores(null, images, inside, names, words_of=other))
    rows = []
    for name in values:
        null_scores = {control: [each[name] for each in seeds] for control, seeds in null_values.items()}
        rows.append(_row(name, values[name], null_scores, within, repeats, seed))
    return OodResult(
        inside,
        outside or "everything else",
        (int(within.sum()), int((~within).sum())),
        rows,
        {name: (each[within], each[~within]) for name, each in values.items()},
        bad.rows,
        time.perf_counter() - began,
    )


def _row(
    name: str,
    values: FloatArray,
    nulls: Mapping[str, list[FloatArray]],
    within: npt.NDArray[np.bool_],
    repeats: int,
    seed: int,
) -> OodRow:
    def areas(drawn: Float, others: Float) -> Float:
        """AUROC, and its difference to the mean of each control over its seeds, in every sample."""
        ours, *theirs = (
            np.mean([weighted_auroc(each[within], each[~within], drawn, others) for each in several], axis=0)
            for several in ([values], *nulls.values())
        )
        return np.stack([ours, *(ours - mean for mean in theirs)], axis=1)

    value, low, high = bootstrap(areas, int(within.sum()), int((~within).sum()), repeats=repeats, seed=seed)
    lifts = list(zip(value.tolist(), low.tolist(), high.tolist(), strict=True))
    return OodRow(
        name,
        auroc(values[within], values[~within]),
        fpr_at_tpr(values[within], values[~within]),
        lifts[0][1:],
        {control: [auroc(each[within], each[~within]) for each in seeds] for control, seeds in nulls.items()},
        dict(zip(nulls, lifts[1:], strict=True)),
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
