"""Do concept weights move over ordered groups: time, batch, camera? Trends, permutation tests, alarms."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRow, BadRows
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..pages.document import Report
from ..pages.plots import lines
from ..pages.tables import Table
from .bootstrap import permutation_test
from .weights import decompose_dataset, group_values

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WordTrend:
    """How one word's weight moves.

    Attributes
    ----------
    word : str
    means : list of float
        Mean weight per group, in order.
    trend : float
        Correlation of the weight with the position of the group, over items; in [-1, 1].
    p, q : float
        Permutation test (groups assigned to items anew), and its q after Benjamini & Hochberg.
    alarm : bool
        q is at most the false discovery rate asked for.
    """

    word: str
    means: list[float]
    trend: float
    p: float
    q: float
    alarm: bool


@dataclass(frozen=True)
class DriftResult:
    """Result of :func:`drift`.

    Attributes
    ----------
    by : str
    groups : list of (name, items)
        In order.
    trends : list of WordTrend
        By rising q, then falling size of the trend.
    tested, alarms : int
        Words tested, and alarms among them.
    alarms_null : float
        Mean number of alarms when items are put in random order.
    bad : list of BadRow
    seconds : float
    """

    by: str
    groups: list[tuple[str, int]]
    trends: list[WordTrend]
    tested: int
    alarms: int
    alarms_null: float
    bad: list[BadRow]
    seconds: float

    def report(self, settings: dict[str, object], top: int = 15) -> Report:
        """The finding in words, a table of the ``top`` clearest trends, a plot of five of them, and plain values."""
        rows = [
            [t.word, t.trend, t.p, t.q, "yes" if t.alarm else "", ", ".join(f"{mean:.3f}" for mean in t.means)]
            for t in self.trends[:top]
        ]
        columns = ["word", "trend (r)", "p", "q", "alarm", "mean weight per group"]
        names = ", ".join(f"{name} ({count})" for name, count in self.groups)
        moving = {trend.word: trend.means for trend in self.trends[:5]}
        plot = lines("weights", self.by, list(range(len(self.groups))), moving)
        return Report(
            "drift",
            "Drift of concept weights",
            f"{self.alarms} of {self.tested} words move over the {len(self.groups)} groups; "
            f"{self.alarms_null:.1f} on average when the items are put in random order.",
            settings,
            [Table(f"Words over {self.by}: {names}", columns, rows)],
            [("The five clearest trends", plot)],
            {key: value for key, value in asdict(self).items() if key not in ("bad", "seconds")},
            self.bad,
            self.seconds,
        )


@door
def drift(
    engine: Engine,
    dataset: Dataset,
    by: str,
    *,
    l1_penalty: float | None = None,
    l0: int | None = None,
    rate: float = 0.05,
    repeats: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> DriftResult:
    """Follow the weight of every word over ordered groups and say which of them move.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Images or embeddings.
    by : str
        What orders the items, see :func:`fastconcept.evaluate.weights.group_values`; values that are all numbers are
        ordered as numbers, others as strings.
    l1_penalty, l0
        As in :meth:`fastconcept.engine.Engine.decompose`.
    rate : float in (0, 1)
        False discovery rate of the alarms.
    repeats, seed : int
        Number of permutations, and their seed.
    progress : callable
        Called with (images done, images).

    Returns
    -------
    DriftResult

    Raises
    ------
    InputError
        If there are fewer than two groups or no word is used by two items.

    Source: Bhalla et al., arXiv 2402.10376, section 6 (distribution shift); the test is ours.
    """
    began = time.perf_counter()
    if not 0 < rate < 1:
        raise InputError(f"rate must be above 0 and below 1, got {rate!r}")
    weights = decompose_dataset(engine, dataset, l1_penalty=l1_penalty, l0=l0, progress=progress)
    values = group_values(weights.items, by)
    bad = BadRows(weights.bad, dataset.strict)
    for item, value in zip(weights.items, values, strict=True):
        if value is None:
            bad.add(item.name, f"has no {by!r}")
    names = ordered({value for value in values if value is not None})
    if len(names) < 2:
        raise InputError(f"{by!r} has {len(names)} values in {dataset.name}; two at least are needed for a trend")
    position = np.array([names.index(value) for value in values if value is not None], np.float64)
    tested = weights.used(0.02)
    if not len(tested):
        raise InputError("no word is used by two items; choose a smaller penalty or a larger l0")
    table = weights.table(tested)[[value is not None for value in values]]
    test = permutation_test(lambda positions: correlations(table, positions), position, rate, repeats, seed)
    means = np.stack([table[position == k].mean(axis=0) for k in range(len(names))])
    trends = [
        WordTrend(
            engine.dictionary.words[int(row)],
            means[:, k].tolist(),
            float(test.observed[k]),
            float(test.p[k]),
            float(test.q[k]),
            bool(test.q[k] <= rate),
        )
        for k, row in enumerate(tested)
    ]
    trends.sort(key=lambda entry: (entry.q, -abs(entry.trend)))
    return DriftResult(
        by,
        [(name, int((position == k).sum())) for k, name in enumerate(names)],
        trends,
        len(trends),
        sum(entry.alarm for entry in trends),
        test.by_chance,
        bad.rows,
        time.perf_counter() - began,
    )


def ordered(names: set[str]) -> list[str]:
    """Values in order: as numbers where all of them are numbers, else as strings.

    Examples
    --------
    >>> ordered({"10", "9"}), ordered({"b10", "b9"})
    (['9', '10'], ['b10', 'b9'])
    """
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def correlations(table: Float, positions: Float) -> Float:
    """Pearson correlation of every column of ``table`` (n, k) with every row of ``positions`` (r, n): (r, k).

    A column or row that does not vary has correlation 0.

    Examples
    --------
    >>> correlations(np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), np.array([[0.0, 1.0, 2.0]])).round(6)
    array([[1., 0.]])
    """
    columns, rows = table - table.mean(axis=0), positions - positions.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(columns, axis=0)[None]
    coefficients: Float = np.divide(rows @ columns, scale, out=np.zeros(scale.shape), where=scale > 1e-12)
    return coefficients
