"""The same objects localised by many readings of the same patches: which choice lifts the maps, and by how much?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..pages.tables import Table
from ..saliency.evidence import Evidence
from ..saliency.layout import Layout
from ..saliency.patches import WORKING_SIZE, Uncovered
from ..saliency.reading import AGGREGATES, SCALE_WEIGHTS, SCORES, Reader, Reading
from ..saliency.targets import Target, unrelated
from . import boxes
from .bootstrap import paired_bootstrap
from .cases import find_cases
from .evidence_store import EvidenceStore
from .nulls import apply_control, control_name

Float = npt.NDArray[np.float64]
NULLS = ("shuffled-definitions", "random-vocabulary")
OURS, OTHER = "map", "random concept"


@dataclass(frozen=True)
class Choice:
    """Everything that one row of a sweep decides: the patches, their reading, and which part of a map gets the box."""

    reading: Reading
    border: str = "noise"
    short_side: int = WORKING_SIZE
    part: str = "largest"


@dataclass(frozen=True)
class SweepRow:
    """What one choice reaches.

    Attributes
    ----------
    choice : Choice
    accuracy, threshold : float
        MaxBoxAcc (``convis`` convention) and its best threshold.
    pointing : float
    lift : (difference, low, high)
        Of MaxBoxAcc over the first row of the sweep, with a 95 % paired bootstrap interval over images.
    over : dict of name to dict of metric to (difference, low, high)
        MaxBoxAcc and the pointing game over each null control, both read by this choice.
    """

    choice: Choice
    accuracy: float
    threshold: float
    pointing: float
    lift: tuple[float, float, float]
    over: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)


def readings(
    sizes: Sequence[tuple[int, ...]],
    inside: Sequence[bool] = (False,),
    strides: Sequence[tuple[int, ...]] = (),
    scores: Sequence[str] = SCORES,
    aggregates: Sequence[str] = AGGREGATES,
    smooth: Sequence[bool] = (False, True),
) -> list[Reading]:
    """Every combination of patch sizes, place, score, aggregation, weights of scales, and smoothing.

    The first is the default of ``explain`` over the first sizes. One patch size has no weights of scales to vary.

    Parameters
    ----------
    sizes : sequence of tuple of int
    inside : sequence of bool
        Patches that hang over the edge are used, or not.
    strides : sequence of tuple of int
        One tuple per entry of ``sizes``, each empty or with one stride per size; none at all means all patches.
    scores, aggregates, smooth
        What is tried of each.

    Examples
    --------
    >>> len(readings([(128, 64)])), len(readings([(64,)]))
    (24, 12)
    """
    steps = strides or [()] * len(sizes)
    scales = list(zip(sizes, steps, strict=True))
    choices = itertools.product(scales, inside, scores, aggregates, SCALE_WEIGHTS, smooth)
    return [
        Reading(score, aggregate, weights, group, within, step, fine)
        for (group, step), within, score, aggregate, weights, fine in choices
        if len(group) > 1 or weights == "area"
    ]


def finest_strides(tried: Iterable[Reading], stride: int) -> dict[int, int]:
    """Patch size to the stride at which it is embedded once for all readings; ``stride`` where none is named.

    Examples
    --------
    >>> finest_strides([Reading(sizes=(128, 64), strides=(32, 16)), Reading(sizes=(64,), strides=(8,))], 16)
    {128: 32, 64: 8}
    """
    finest: dict[int, int] = {}
    for reading in tried:
        for size, step in zip(reading.sizes, reading.strides or (stride,) * len(reading.sizes), strict=True):
            finest[size] = math.gcd(finest.get(size, 0), step)
    return dict(sorted(finest.items(), reverse=True))


@door
def sweep(
    engine: Engine,
    dataset: Dataset,
    tried: Sequence[Reading],
    *,
    protocol: str = "wsol",
    layout: Layout = Layout(),
    borders: Iterable[str] = ("noise",),
    short_sides: Iterable[int] = (WORKING_SIZE,),
    parts: Sequence[str] = ("largest",),
    nulls: Sequence[str] = (),
    concept: str | None = None,
    max_area: float = 1.0,
    seed: int = 0,
    cache: str | None = None,
    progress: Progress = silent,
) -> list[SweepRow]:
    """Localise with every reading; the patches of an image are embedded once per size, border and resolution.

    Parameters
    ----------
    engine, dataset, protocol, concept, max_area, cache, progress
        As for :func:`fastconcept.evaluate.localize.localize`.
    tried : sequence of Reading
        With their sizes named. The first is what the others are compared with.
    layout : Layout
        Its stride is that of readings that name none, its seed that of the noise.
    borders : iterable of str
        Surroundings of the image; see :class:`fastconcept.saliency.layout.Layout`.
    short_sides : iterable of int
        Pixels of the short side of the working image; 0 leaves images as large as they are.
    parts : sequence of {"largest", "peak", "heaviest"}
        Which component's box is taken, see :func:`fastconcept.evaluate.boxes.convis_curves`.
    nulls : sequence of {"shuffled-definitions", "random-vocabulary"}
        Every row is compared with the same choice under these controls, and with a random concept.
    seed : int
        Seed of the controls, of the random concepts and of the bootstrap.

    Returns
    -------
    list of SweepRow
        One per border, resolution, reading and part, in order, without those whose patches leave a part of some image
        out (patches inside the image, at a coarse stride).

    Raises
    ------
    InputError
        If there is nothing to localise, no reading covers every image, or a control cannot be swept.
    """
    tried = list(dict.fromkeys(tried))
    layout = replace(layout, fit="crop" if protocol == "convis" else "full")
    if unknown := set(parts) - set(boxes.PARTS) | set(nulls) - set(NULLS):
        raise InputError(f"a sweep knows no {', '.join(sorted(unknown))}")
    strides = finest_strides(tried, min(layout.strides.values()))
    layout = replace(layout, sizes=tuple(strides), stride=tuple(strides.values()))
    stores = {
        (border, side): EvidenceStore(engine, replace(layout, border=border, short_side=side), cache)
        for border, side in itertools.product(borders, short_sides)
    }
    banks = {control_name(control): apply_control(engine, control, seed).prepared_bank for control in nulls}
    tally = _Tally(tried, parts)
    generator = np.random.default_rng(seed)
    groups: list[str] = []
    bad = dataset.bad_rows()  # the same as those of localize, which reports them
    for item, image, cases in find_cases(engine, dataset, bad, concept, max_area, layout.fit, progress):
        targets = [case.target for case in cases]
        others = [unrelated(engine.bank, target, generator) for target in targets] if nulls else []
        groups += [item.name] * len(cases)
        for (border, side), store in stores.items():
            for name, reader in _readers(engine, store.evidence(image), targets, others, banks).items():
                with engine.place:
                    tally.add(name, border, side, reader, [case.truth for case in cases])
    return tally.rows(groups, seed)


def _readers(
    engine: Engine,
    evidence: Evidence,
    targets: Sequence[Target],
    others: Sequence[Target],
    banks: dict[str, Any],
) -> dict[str, Reader]:
    """Readers of the right concepts, of random ones, and of the right ones in the banks of null controls."""
    real = engine.prepared_bank
    asked = {OURS: (targets, real)} | ({OTHER: (others, real)} if others else {})
    asked |= {name: (targets, bank) for name, bank in banks.items()}
    with engine.place:
        return {
            name: Reader(evidence, wanted, bank, engine.kernels, engine.num_threads)
            for name, (wanted, bank) in asked.items()
        }


class _Tally:
    """Success at every threshold and in the pointing game, by method and choice."""

    def __init__(self, tried: Sequence[Reading], parts: Sequence[str]) -> None:
        self._tried, self._parts = tried, parts
        self._hits: dict[str, dict[Choice, list[npt.NDArray[np.bool_]]]] = {}
        self._pointing: dict[str, dict[Choice, list[float]]] = {}
        self._uncovered: set[Choice] = set()

    def add(self, method: str, border: str, side: int, reader: Reader, truths: Sequence[Float]) -> None:
        hits, pointing = self._hits.setdefault(method, {}), self._pointing.setdefault(method, {})
        for reading in self._tried:
            try:
                maps = reader.maps(reading)
            except Uncovered:
                self._uncovered |= {Choice(reading, border, side, part) for part in self._parts}
                continue
            for cells, truth in zip(maps, truths, strict=True):
                curves = boxes.convis_curves(cells, truth, self._parts) > 0.5
                peak = boxes.pointing_game(cells, truth)
                for part, curve in zip(self._parts, curves, strict=True):
                    choice = Choice(reading, border, side, part)
                    hits.setdefault(choice, []).append(curve)
                    pointing.setdefault(choice, []).append(peak)

    def rows(self, groups: Sequence[str], seed: int) -> list[SweepRow]:
        left = [choice for choice in self._hits[OURS] if choice not in self._uncovered]
        if not left:
            raise Uncovered("no choice of patches covers every image; try smaller sizes or strides")
        stacked = {m: {c: np.array(hits[c], np.float64) for c in left} for m, hits in self._hits.items()}
        peaks = {m: {c: np.array(v)[:, None] for c, v in peaks.items()} for m, peaks in self._pointing.items()}
        first = next(iter(stacked[OURS].values()))
        rows = []
        for choice, hits in stacked[OURS].items():
            over = {
                name: {
                    "MaxBoxAcc": paired_bootstrap(hits, stacked[name][choice], groups, seed=seed),
                    "pointing": paired_bootstrap(peaks[OURS][choice], peaks[name][choice], groups, seed=seed),
                }
                for name in stacked
                if name != OURS
            }
            rates = hits.mean(axis=0)
            threshold = float(boxes.CONVIS_THRESHOLDS[int(rates.argmax())])
            lift = paired_bootstrap(hits, first, groups, seed=seed)
            pointing = float(peaks[OURS][choice].mean())
            rows.append(SweepRow(choice, float(rates.max()), threshold, pointing, lift, over))
        return rows


def sweep_table(rows: Sequence[SweepRow], most: int = 24) -> Table:
    """The best rows of a sweep, at most so many, each with its difference to the first row and to its null controls."""
    nulls = list(rows[0].over)
    best = sorted(rows, key=lambda row: (-row.accuracy, -row.pointing))[:most]
    columns = ["patches and reading", "border, short side, part", "MaxBoxAcc", "at threshold", "pointing game",
               "MaxBoxAcc over the first", *(f"MaxBoxAcc over {name}" for name in nulls),
               *(f"pointing over {name}" for name in nulls)]  # fmt: skip
    cells = [
        [
            row.choice.reading.describe(),
            f"{row.choice.border}, {row.choice.short_side or 'own'} px, {row.choice.part}",
            row.accuracy,
            row.threshold,
            row.pointing,
            row.lift,
            *(row.over[name]["MaxBoxAcc"] for name in nulls),
            *(row.over[name]["pointing"] for name in nulls),
        ]
        for row in best
    ]
    first = rows[0].choice
    note = (
        f"The first is: {first.reading.describe()}, border {first.border}. Best rows first, {len(best)} of "
        f"{len(rows)}; the JSON file has all. The best of many rows looks better than it is: judge it on other images "
        "(--sample N for the sweep, --sample -N for the rest)."
    )
    return Table("Sweep: which choice lifts the maps", columns, cells, note)
