"""Which words do classes and datasets consist of, and which tell two groups apart?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ..concepts.taxonomy import Taxonomy
from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRow
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..pages.document import Report
from ..pages.plots import bars
from ..pages.tables import Table
from .bootstrap import bootstrap, permutation_test
from .nulls import shuffle
from .weights import Weights, decompose_dataset, group_values

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupWords:
    """Mean weights of one group: the heaviest words, the number of items, words and cosine on average."""

    group: str
    count: int
    words: list[tuple[str, float]]
    l0: float
    cosine: float


@dataclass(frozen=True)
class WordDifference:
    """One word in two groups.

    Attributes
    ----------
    word : str
    means : (first, second)
        Mean weights.
    difference, low, high : float
        First minus second, 95 % bootstrap interval over items.
    effect : float
        Difference in pooled standard deviations (Cohen's d).
    p, q : float
        Permutation test of the difference; q after Benjamini & Hochberg over all words tested.
    """

    word: str
    means: tuple[float, float]
    difference: float
    low: float
    high: float
    effect: float
    p: float
    q: float


@dataclass(frozen=True)
class ConceptsResult:
    """Result of :func:`concepts`.

    Attributes
    ----------
    by : str
    groups : list of GroupWords
        The whole dataset first.
    named, named_null : float or None
        With ``by="label"``: part of the groups whose own name is among their ten heaviest words, and the same with
        the words of the dictionary shuffled.
    compared : (str, str) or None
    differences : list of WordDifference
        By falling size of the effect.
    tested, differing : int
        Number of words tested, and of those with q <= 0.05.
    differing_by_chance : float
        Mean of that number when items are assigned to groups at random.
    bad : list of BadRow
    seconds : float
    """

    by: str
    groups: list[GroupWords]
    named: float | None
    named_null: float | None
    compared: tuple[str, str] | None
    differences: list[WordDifference]
    tested: int
    differing: int
    differing_by_chance: float
    bad: list[BadRow]
    seconds: float

    def report(self, settings: dict[str, object]) -> Report:
        """The finding in words, tables of groups and of differences, plots of weights, and plain values."""
        finding = f"{len(self.groups) - 1} groups by {self.by}."
        if self.named is not None:
            finding += (
                f" {self.named:.0%} of those whose name is in the vocabulary have a word of it among their ten "
                f"heaviest words ({self.named_null or 0:.0%} with the words of the dictionary shuffled)."
            )
        rows = [
            [g.group, g.count, g.l0, g.cosine, ", ".join(f"{word} {weight:.3f}" for word, weight in g.words[:8])]
            for g in self.groups
        ]
        columns = ["group", "items", "words (l0)", "cosine", "mean weights"]
        tables = [Table(f"Heaviest words by {self.by}", columns, rows)]
        heaviest = self.groups[0].words
        weights = bars("weights", [word for word, _ in heaviest], {"mean weight": [weight for _, weight in heaviest]})
        plots = [("All items", weights)]
        if self.compared:
            one, two = self.compared
            finding += f" {one} and {two} differ in {self.differing} of {self.tested} words at q <= 0.05."
            tables.append(self._difference_table(one, two))
            series = {name: [d.means[k] for d in self.differences] for k, name in enumerate(self.compared)}
            plots.append((f"{one} and {two}", bars("difference", [d.word for d in self.differences], series)))
        values = {key: value for key, value in asdict(self).items() if key not in ("bad", "seconds")}
        return Report(
            "concepts", "Concept histograms", finding, settings, tables, plots, values, self.bad, self.seconds
        )

    def _difference_table(self, one: str, two: str) -> Table:
        rows = [[d.word, *d.means, (d.difference, d.low, d.high), d.effect, d.p, d.q] for d in self.differences]
        columns = ["word", f"mean, {one}", f"mean, {two}", "difference [95 %]", "effect (d)", "p", "q"]
        by_chance = f"with random groups {self.differing_by_chance:.1f} on average have q <= 0.05."
        return Table(f"{one} minus {two}", columns, rows, f"{self.tested} words tested; {by_chance}")


@door
def concepts(
    engine: Engine,
    dataset: Dataset,
    *,
    by: str = "label",
    compare: tuple[str, str] | None = None,
    l1_penalty: float | None = None,
    l0: int | None = None,
    repeats: int = 2000,
    seed: int = 0,
    top: int = 12,
    progress: Progress = silent,
) -> ConceptsResult:
    """Mean concept weights of a dataset and of its groups, and the words in which two groups differ.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Images or embeddings.
    by : str
        What groups are made of, see :func:`fastconcept.evaluate.weights.group_values`.
    compare : (str, str), optional
        Two values of ``by``.
    l1_penalty, l0
        As in :meth:`fastconcept.engine.Engine.decompose`.
    repeats, seed : int
        Number of bootstrap samples and of permutations, and their seed.
    top : int
        Number of words per group, and of differences, in the result.
    progress : callable
        Called with (images done, images).

    Returns
    -------
    ConceptsResult

    Raises
    ------
    InputError
        If a group to be compared has fewer than two items.

    Source: Bhalla et al., arXiv 2402.10376, sections 5 and 6 (concept histograms, spurious correlations).
    """
    began = time.perf_counter()
    weights = decompose_dataset(engine, dataset, l1_penalty=l1_penalty, l0=l0, progress=progress)
    values = group_values(weights.items, by)
    names = sorted({value for value in values if value is not None})
    members = {name: np.array([value == name for value in values]) for name in names}
    words = engine.dictionary.words
    groups = [_group_words(weights, name, chosen, words, top) for name, chosen in members.items()]
    everything = _group_words(weights, "all", np.ones(len(values), bool), words, top)
    shuffled = [words[i] for i in shuffle(len(words), seed)]
    null = [_group_words(weights, name, chosen, shuffled, top) for name, chosen in members.items()]
    differences: list[WordDifference] = []
    by_chance = 0.0
    if compare is not None:
        sides = [members.get(name, np.zeros(len(values), bool)) for name in compare]
        for name, side in zip(compare, sides, strict=True):
            if side.sum() < 2:
                raise InputError(f"{by}={name} has {side.sum()} items; two at least are needed. There are: {names}")
        differences, by_chance = _differences(weights, sides[0], sides[1], words, repeats, seed)
    return ConceptsResult(
        by,
        [everything, *groups],
        _named(engine, groups) if by == "label" else None,
        _named(engine, null) if by == "label" else None,
        compare,
        differences[:top],
        len(differences),
        sum(entry.q <= 0.05 for entry in differences),
        by_chance,
        weights.bad,
        time.perf_counter() - began,
    )


def _group_words(
    weights: Weights, name: str, chosen: npt.NDArray[np.bool_], words: Sequence[str], top: int
) -> GroupWords:
    lengths = np.diff(weights.indptr)
    mine = np.repeat(chosen, lengths)
    rows, inverse = np.unique(weights.indices[mine], return_inverse=True)
    count = int(chosen.sum())
    means = np.bincount(inverse, weights.values[mine], len(rows)) / max(count, 1)
    order = np.argsort(-means, kind="stable")[:top]
    heaviest = [(words[int(rows[i])], float(means[i])) for i in order]
    return GroupWords(name, count, heaviest, float(lengths[chosen].mean()), float(weights.cosine[chosen].mean()))


def _named(engine: Engine, groups: Sequence[GroupWords]) -> float | None:
    """Part of the groups that have a word of their own name among their ten heaviest words."""
    wordnet, vocabulary, hits = Taxonomy.builtin(), {word.lower() for word in engine.dictionary.words}, []
    for group in groups:
        index = wordnet.resolve(group.group).index if group.group.strip() else None
        own = {group.group.lower(), *group.group.lower().split()}
        if index is not None:
            own |= {part.lower() for lemma in wordnet.lemmas(index, spaces=True) for part in (lemma, *lemma.split())}
        if own & vocabulary:
            hits.append(any(word.lower() in own for word, _ in group.words[:10]))
    return float(np.mean(hits)) if hits else None


def _differences(
    weights: Weights,
    first: npt.NDArray[np.bool_],
    second: npt.NDArray[np.bool_],
    words: Sequence[str],
    repeats: int,
    seed: int,
) -> tuple[list[WordDifference], float]:
    """Every word that is used often enough to be tested, by falling effect; and the discoveries in random groups."""
    tested = weights.used(0.02)
    if not len(tested):
        return [], 0.0
    table = weights.table(tested)
    one, two = table[first], table[second]
    both = np.concatenate([one, two])
    _, low, high = bootstrap(
        lambda drawn, others: drawn @ one / len(one) - others @ two / len(two),
        len(one),
        len(two),
        repeats=repeats,
        seed=seed,
    )
    test = permutation_test(
        lambda side: side @ both / len(one) - (1 - side) @ both / len(two),
        (np.arange(len(both)) < len(one)).astype(np.float64),
        repeats=repeats,
        seed=seed,
    )
    variance = ((len(one) - 1) * one.var(axis=0, ddof=1) + (len(two) - 1) * two.var(axis=0, ddof=1)) / (len(both) - 2)
    pooled = np.sqrt(variance)
    effect = np.divide(test.observed, pooled, out=np.zeros_like(pooled), where=pooled > 0)
    differences = [
        WordDifference(
            words[int(row)],
            (float(one[:, k].mean()), float(two[:, k].mean())),
            *map(float, (test.observed[k], low[k], high[k], effect[k], test.p[k], test.q[k])),
        )
        for k, row in enumerate(tested)
    ]
    differences.sort(key=lambda entry: -abs(entry.effect))
    return differences, test.by_chance
