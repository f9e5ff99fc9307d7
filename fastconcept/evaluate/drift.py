"""Do concept weights move over ordered groups: time, batch, camera? Trends, permutation tests, alarms."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset, Progress, silent
from ..datasets.items import BadRow, BadRows
from ..engine import Engine
from ..errors import InputError
from .bootstrap import benjamini_hochberg, permutation_p
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
    """Result of :func:`trace`.

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


def trace(
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
    engine, dataset
        Images or embeddings.
    by : str
        What orders the items, see :func:`fastconcept.evaluate.weights.group_values`; values that are all numbers are
        ordered as numbers, others as strings.
    l1_penalty, l0
        As in :meth:`fastconcept.engine.Engine.decompose`.
    rate : float in (0, 1)
        False discovery rate of the alarms.
    repeats, seed : int
        Of the permutation test.
    progress : callable

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
    kept = np.array([value is not None for value in values])
    names = ordered({value for value in values if value is not None})
    if len(names) < 2:
        raise InputError(f"{by!r} has {len(names)} values in {dataset.name}; two at least are needed for a trend")
    position = np.array([names.index(value) for value in values if value is not None], np.float64)
    tested = weights.used(0.02)
    if not len(tested):
        raise InputError("no word is used by two items; choose a smaller penalty or a larger l0")
    table = weights.table(tested)[kept]
    generator = np.random.default_rng(seed)
    observed = correlations(table, position[None])[0]
    permuted = correlations(table, np.stack([generator.permutation(position) for _ in range(repeats)]))
    p = permutation_p(observed, permuted)
    q = benjamini_hochberg(p)
    nulls = [benjamini_hochberg(permutation_p(row, permuted)) for row in permuted[:20]]
    means = np.stack([table[position == k].mean(axis=0) for k in range(len(names))])
    trends = [
        WordTrend(
            engine.dictionary.words[int(row)],
            means[:, k].tolist(),
            float(observed[k]),
            float(p[k]),
            float(q[k]),
            bool(q[k] <= rate),
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
        float(np.mean([(found <= rate).sum() for found in nulls])),
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
    found: Float = np.divide(rows @ columns, scale, out=np.zeros(scale.shape), where=scale > 1e-12)
    return found
