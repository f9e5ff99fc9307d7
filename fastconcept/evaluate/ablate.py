"""Ablations: what do nonnegativity, centring, the words to choose from and the lasso each contribute?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, embed_all, silent
from ..datasets.items import BadRow
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..pages.document import Report
from ..pages.plots import Plot, lines
from ..pages.tables import Table
from ..sparse.decompose import decompose
from ..sparse.dictionary import Dictionary
from ..sparse.result import Decompositions
from .bootstrap import paired_bootstrap
from .metrics import true_ranks
from .other_codes import nearest, omp
from .relevance import Relevance
from .vocabularies import uncentred, vocabulary
from .zeroshot import TEMPLATES, class_embeddings, labelled

FloatArray = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]
Lift = tuple[float, float, float]
BASELINE = "SpLiCE"
MEASURES = ("top1", "cosine", "relevance")
NAMES = {"top1": "top-1", "cosine": "cosine", "relevance": "relevance"}


@dataclass(frozen=True)
class AblationRow:
    """One design at one number of words.

    Attributes
    ----------
    design : str
    part : {"method", "vocabulary"}
        What the design changes.
    dictionary : int
        Number of words to choose from.
    asked : int
        Number of words asked for.
    l0, negative : float
        Mean number of words, and part of them whose weight is negative.
    top1 : float
        Zero-shot accuracy of what the words add up to.
    cosine : float
        Mean cosine between that and the dense embedding.
    relevance : float
        Mean part of the words that have to do with the picture; nan where nothing is known about any.
    by_chance : float
        The same, each code judged by the label and captions of another picture.
    against : dict of measure to (difference, low, high)
        Minus SpLiCE at the same number of words, paired bootstrap over images.
    over_chance : (difference, low, high)
        Relevance minus that by chance.
    """

    design: str
    part: str
    dictionary: int
    asked: int
    l0: float
    negative: float
    top1: float
    cosine: float
    relevance: float
    by_chance: float
    against: dict[str, Lift]
    over_chance: Lift


@dataclass(frozen=True)
class AblateResult:
    """Result of :func:`ablate`.

    Attributes
    ----------
    classes, count, judged : int
        Number of classes, of images, and of images whose words can be judged.
    dense : float
        Zero-shot accuracy of the dense embeddings.
    rows : list of AblationRow
        Design after design, SpLiCE first.
    bad : list of BadRow
        Items, and designs, that were left out.
    seconds : float
    """

    classes: int
    count: int
    judged: int
    dense: float
    rows: list[AblationRow]
    bad: list[BadRow]
    seconds: float

    def report(self, settings: dict[str, object]) -> Report:
        """The finding in words, a table per number of words, and three panels for methods and for vocabularies."""
        asked = list(dict.fromkeys(row.asked for row in self.rows))
        columns = ["design", "dictionary", "words", "negative", "top-1", "cosine", "relevance", "by chance"]
        columns += [f"{NAMES[measure]} against {BASELINE}" for measure in MEASURES]
        tables = [
            Table(
                f"{count} words asked for",
                columns,
                [_cells(row) for row in self.rows if row.asked == count],
                "Dense embeddings have a top-1 of "
                f"{self.dense:.3f}. Differences are to {BASELINE} with as many words, with a 95 % paired bootstrap "
                f"interval over images. Relevance is judged on {self.judged} of {self.count} images.",
            )
            for count in asked
        ]
        return Report(
            "ablate",
            "Ablations of SpLiCE",
            self._finding(asked[len(asked) // 2]),
            settings,
            tables,
            [(title, plot) for part in ("method", "vocabulary") for title, plot in self._panels(part, asked)],
            {"classes": self.classes, "count": self.count, "judged": self.judged, "dense": self.dense,
             "rows": [asdict(row) for row in self.rows]},
            self.bad,
            self.seconds,
        )  # fmt: skip

    def _finding(self, asked: int) -> str:
        """What changes surely at a number of words: the interval of the difference is off zero."""
        own, *others = (row for row in self.rows if row.asked == asked)
        text = [
            f"With {own.l0:.0f} words, {BASELINE} has a top-1 of {own.top1:.3f} (dense: {self.dense:.3f}), a cosine of "
            f"{own.cosine:.3f} and {_percent(own.relevance)} relevant words"
        ]
        for measure in MEASURES:
            sides = {"lower": [], "higher": []}  # type: dict[str, list[str]]
            for row in others:
                _, low, high = row.against[measure]
                if low > 0 or high < 0:
                    sides["higher" if low > 0 else "lower"].append(row.design)
            told = [f"{side} for {', '.join(names)}" for side, names in sides.items() if names]
            text.append(f"{NAMES[measure]} is {' and '.join(told)}" if told else f"no {NAMES[measure]} differs surely")
        return "; ".join(text) + "."

    def _panels(self, part: str, asked: Sequence[int]) -> list[tuple[str, Plot]]:
        """Accuracy, cosine and relevance against the number of words asked for."""
        designs = dict.fromkeys(row.design for row in self.rows if row.part == part or row.design == BASELINE)
        panels = []
        for measure in MEASURES:
            series = {
                design: [getattr(row, measure) for row in self.rows if row.design == design] for design in designs
            }
            title = f"{NAMES[measure]}, by {part}"
            panels.append((title[0].upper() + title[1:], lines(title, "words asked for", asked, series)))
        return panels


def _cells(row: AblationRow) -> list[object]:
    known = not np.isnan(row.relevance)
    cells: list[object] = [row.design, row.dictionary, row.l0, row.negative, row.top1, row.cosine]
    cells += [row.relevance, row.by_chance]
    return cells + [row.against[measure] if known or measure != "relevance" else None for measure in MEASURES]


def _percent(part: float) -> str:
    return "unknown" if np.isnan(part) else f"{part:.0%}"


@dataclass(frozen=True)
class _Design:
    """A way to make codes of images: a dictionary, a mean, and a method."""

    name: str
    part: str
    dictionary: Dictionary
    mean: FloatArray
    method: Callable[[FloatArray, Dictionary, FloatArray, int], Decompositions]


@dataclass(frozen=True)
class _Judge:
    """What a code is judged by: the label's prompt, the embedding, and which words have to do with the picture."""

    images: FloatArray
    prompts: FloatArray
    labels: npt.NDArray[np.int64]
    relevance: Relevance
    seed: int

    def scores(self, codes: Decompositions) -> dict[str, Float]:
        """A number per image for each measure, and the relevance by chance."""
        ranks = true_ranks(codes.embeddings @ self.prompts.T, self.labels)
        words, known = codes.dictionary.words, self.relevance.known
        own = self.relevance.shares(codes.codes, words)
        chance = self.relevance.by_chance(codes.codes, words, self.seed)
        return {"top1": (ranks < 1).astype(np.float64), "cosine": codes.cosine, "relevance": own[known],
                "by_chance": chance[known]}  # fmt: skip


@door
def ablate(
    engine: Engine,
    dataset: Dataset,
    *,
    classes: Sequence[str] | None = None,
    templates: Sequence[str] = TEMPLATES,
    l0s: Sequence[int] = (5, 10, 20),
    dictionary_sizes: Sequence[int] = (100, 300, 1000, 3000),
    vocabularies: Sequence[str] = ("classes", "random-words", "captions", "bigrams", "random-rows"),
    captions: Sequence[str] | None = None,
    repeats: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> AblateResult:
    """Decompose with one choice of SpLiCE changed at a time, at the same numbers of words.

    The choices are nonnegative weights (*signed* leaves them out), the image mean and the mean of the dictionary (*no
    image mean*, *no dictionary mean*, *no means*), the lasso (*omp*, orthogonal matching pursuit by scikit-learn, and
    *nearest*, the words of largest cosine), how many words there are to choose from, and which.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Labelled images or embeddings.
    classes, templates
        As for :func:`fastconcept.evaluate.zeroshot.zeroshot`.
    l0s : sequence of int
        Numbers of words.
    dictionary_sizes : sequence of int
        Sizes of smaller dictionaries, drawn from the engine's own. One that is larger is listed as left out.
    vocabularies : sequence of str
        Other dictionaries, see :func:`fastconcept.evaluate.vocabularies.vocabulary`. Those that need captions are left
        out where there are none.
    captions : sequence of str, optional
        Texts for the vocabularies *captions* and *bigrams*; by default the dataset's own.
    repeats, seed : int
        Number of bootstrap samples; seed of the bootstrap and of what is drawn.
    progress : callable
        Called with (images done, images), then with (designs done, designs).

    Returns
    -------
    AblateResult

    Raises
    ------
    InputError
        If no item has a label among the classes, a number of words is not positive, or a vocabulary has fewer words
        than were asked for.

    Source: Bhalla et al., arXiv 2402.10376, figure 5.
    """
    began = time.perf_counter()
    if not l0s or any(count < 1 for count in l0s):
        raise InputError(f"l0s must be numbers of words of at least 1, got {list(l0s)}")
    part, index, bad = labelled(dataset, classes)
    names = list(index)
    items, images, unreadable = embed_all(engine, part, progress)
    bad.extend(unreadable)
    labels = np.array([index[item.label] for item in items if item.label is not None])
    texts = [c for item in dataset.items for c in item.captions] if captions is None else list(captions)
    designs = _methods(engine)
    for name in [*(f"own:{size}" for size in dictionary_sizes if size < len(engine.dictionary)), *vocabularies]:
        if name.partition(":")[0] in ("captions", "bigrams") and not texts:
            bad.add(name, "this vocabulary needs captions, and there are none")
            continue
        dictionary = vocabulary(engine, name, classes=names, captions=texts, seed=seed)
        lasso = partial(_lasso, engine, signed=False)
        designs.append(_Design(name, "vocabulary", dictionary, engine.image_mean, lasso))
    for size in dictionary_sizes:
        if size >= len(engine.dictionary):
            bad.add(f"own:{size}", f"the dictionary itself has {len(engine.dictionary)} words")
    judge = _Judge(images, class_embeddings(engine, names, templates), labels, Relevance(items), seed)
    rows = _rows(designs, judge, sorted(set(l0s)), repeats, seed, progress)
    dense = float((true_ranks(images @ judge.prompts.T, labels) < 1).mean())
    judged = int(judge.relevance.known.sum())
    return AblateResult(len(names), len(items), judged, dense, rows, bad.rows, time.perf_counter() - began)


def _methods(engine: Engine) -> list[_Design]:
    """SpLiCE, and with one of its choices changed, over the same words."""
    own, mean = engine.dictionary, engine.image_mean
    none = np.zeros_like(mean)
    raw = Dictionary(own.words, uncentred(own), none)
    lasso = partial(_lasso, engine, signed=False)
    return [
        _Design(BASELINE, "method", own, mean, lasso),
        _Design("signed", "method", own, mean, partial(_lasso, engine, signed=True)),
        _Design("no image mean", "method", own, none, lasso),
        _Design("no dictionary mean", "method", raw, mean, lasso),
        _Design("no means", "method", raw, none, lasso),
        _Design("omp", "method", own, mean, omp),
        _Design("nearest", "method", own, mean, nearest),
    ]


def _lasso(
    engine: Engine, images: FloatArray, dictionary: Dictionary, mean: FloatArray, l0: int, *, signed: bool
) -> Decompositions:
    with engine.place:
        return decompose(images, dictionary, mean, engine.kernels, l0=l0, signed=signed, num_threads=engine.num_threads)


def _rows(
    designs: Sequence[_Design], judge: _Judge, l0s: Sequence[int], repeats: int, seed: int, progress: Progress
) -> list[AblationRow]:
    rows: list[AblationRow] = []
    own: dict[int, dict[str, Float]] = {}
    for done, design in enumerate(designs, 1):
        for l0 in l0s:
            codes = design.method(judge.images, design.dictionary, design.mean, l0)
            scores = judge.scores(codes)
            lift = partial(_lift, repeats=repeats, seed=seed)
            against = {measure: lift(scores[measure], own.setdefault(l0, scores)[measure]) for measure in MEASURES}
            means: dict[str, Any] = {name: float(each.mean()) if len(each) else np.nan for name, each in scores.items()}
            rows.append(
                AblationRow(
                    design.name,
                    design.part,
                    len(design.dictionary),
                    l0,
                    float(codes.l0.mean()),
                    float((codes.codes.values < 0).mean()) if len(codes.codes.values) else 0.0,
                    **means,
                    against=against,
                    over_chance=lift(scores["relevance"], scores["by_chance"]),
                )
            )
        progress(done, len(designs))
    return rows


def _lift(ours: Float, theirs: Float, repeats: int, seed: int) -> Lift:
    if not len(ours):
        return (np.nan, np.nan, np.nan)
    return paired_bootstrap(ours[:, None], theirs[:, None], None, None, repeats, seed)
