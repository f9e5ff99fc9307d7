"""How far do the faster modes of evidence agree with crops, and how much faster are they?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRow, BadRows
from ..engine import Engine
from ..errors import InputError
from ..pages.document import Report
from ..pages.plots import bars
from ..pages.tables import Table
from ..saliency.components import largest_component
from ..saliency.explain import embed
from ..saliency.layout import MODES, Layout
from ..saliency.reading import Reader, Reading
from ..saliency.targets import Target
from .cases import find_cases
from .libraries import library
from .nulls import unrelated

Maps = npt.NDArray[np.float32]
CROPS = MODES[0]
GROUPS = ("present", "absent")


@dataclass(frozen=True)
class Agreement:
    """One mode beside crops, over the maps of some concepts.

    Attributes
    ----------
    mode : str
    concepts : {"present", "absent"}
        Labelled objects of each image, or as many concepts drawn at random that are unrelated to them.
    maps : int
        Number of maps; those that are constant in either mode are left out.
    spearman : float
        Mean rank correlation of the cells of two maps.
    box : float
        Mean intersection over union of the boxes at threshold 0.5.
    peak : float
        Share of maps whose brightest cells lie at most one patch of the smallest size apart.
    """

    mode: str
    concepts: str
    maps: int
    spearman: float
    box: float
    peak: float


@dataclass(frozen=True)
class ModesResult:
    """Result of :func:`modes`.

    Attributes
    ----------
    agreements : list of Agreement
    milliseconds : dict of mode to float
        Median wall time of an image's evidence, the first image left out.
    images : int
    bad : list of BadRow
    seconds : float
    """

    agreements: list[Agreement]
    milliseconds: dict[str, float]
    images: int
    bad: list[BadRow]
    seconds: float

    def report(self, settings: dict[str, object]) -> Report:
        """The finding in words, a table, a plot, and plain values."""
        columns = ["mode", "concepts", "maps", "Spearman", "IoU of boxes", "same peak", "ms an image", "times faster"]
        slow = self.milliseconds[CROPS]
        rows = [
            [a.mode, a.concepts, a.maps, a.spearman, a.box, a.peak, self.milliseconds[a.mode],
             slow / self.milliseconds[a.mode]]
            for a in self.agreements
        ]  # fmt: skip
        sentences = [
            f"Maps by {a.mode} correlate with those by crops at {a.spearman:.2f} and take "
            f"{slow / self.milliseconds[a.mode]:.1f} times less time."
            for a in self.agreements
            if a.concepts == "present"
        ]
        labels = [f"{a.mode}, {a.concepts}" for a in self.agreements]
        series = {"Spearman": [a.spearman for a in self.agreements], "IoU of boxes": [a.box for a in self.agreements]}
        return Report(
            "modes",
            "Modes of evidence beside crops",
            " ".join(sentences),
            {**settings, "images": self.images},
            [Table("Agreement with crops", columns, rows)],
            [("Agreement with crops", bars("agreement", labels, series))],
            {key: value for key, value in asdict(self).items() if key not in ("bad", "seconds")},
            self.bad,
            self.seconds,
        )


def modes(
    engine: Engine,
    dataset: Dataset,
    *,
    modes: Sequence[str] = MODES[1:],
    layout: Layout = Layout(),
    reading: Reading = Reading(),
    seed: int = 0,
    progress: Progress = silent,
) -> ModesResult:
    """Explain the same concepts by crops and by other modes, and compare the maps.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Images with boxes or masks, whose labels say which concepts are present.
    modes : sequence of str
        Modes to compare with crops.
    layout : Layout
        Patches of all modes; its own ``mode`` is not used.
    reading : Reading
        How evidence is read.
    seed : int
        Seed of the absent concepts.
    progress : callable
        Called with (images done, images).

    Returns
    -------
    ModesResult

    Raises
    ------
    InputError
        If the engine has not one of the modes, or no image shows a concept.
    """
    began = time.perf_counter()
    if unknown := set(modes) - set(MODES[1:]) or (not modes and {"none"}):
        raise InputError(f"modes must be among {', '.join(MODES[1:])}; got {', '.join(map(str, unknown))}")
    generator, bad = np.random.default_rng(seed), BadRows(dataset.bad, dataset.strict)
    layouts = {mode: replace(layout, mode=mode) for mode in (CROPS, *modes)}
    times: dict[str, list[float]] = {mode: [] for mode in layouts}
    pairs: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _, image, cases in find_cases(engine, dataset, bad, fit=layout.fit, progress=progress):
        present = [case.target for case in cases]
        absent = [unrelated(engine.bank, target, generator) for target in present]
        maps = {mode: _maps(engine, image, one, reading, present + absent, times) for mode, one in layouts.items()}
        for mode in modes:
            for index in range(len(present) * 2):
                compared = _compare(maps[CROPS][index], maps[mode][index], layout)
                if compared is not None:
                    pairs.setdefault((mode, GROUPS[index >= len(present)]), []).append(compared)
    agreements = [
        Agreement(mode, group, len(values), *np.mean(values, axis=0).tolist())
        for (mode, group), values in sorted(pairs.items(), key=lambda entry: (entry[0][0], GROUPS.index(entry[0][1])))
    ]
    middle = {mode: float(np.median(spent[1:] or spent)) for mode, spent in times.items()}
    return ModesResult(agreements, middle, len(times[CROPS]), bad.rows, time.perf_counter() - began)


def _maps(
    engine: Engine,
    image: npt.NDArray[np.uint8],
    layout: Layout,
    reading: Reading,
    targets: Sequence[Target],
    times: dict[str, list[float]],
) -> Maps:
    parts: Any = engine.parts
    with engine.place:
        tower = parts.image_tower(layout.mode)
        began = time.perf_counter()
        evidence = embed(image, tower, layout)
        times[layout.mode].append((time.perf_counter() - began) * 1e3)
        return Reader(evidence, targets, parts.prepared_bank, parts.kernels, parts.num_threads).maps(reading)


def _compare(one: Maps, two: Maps, layout: Layout) -> tuple[float, float, float] | None:
    """Rank correlation, intersection over union of boxes and whether peaks agree; None where a map is constant."""
    if one.min() == 1 or two.min() == 1:
        return None
    correlation = float(library("scipy.stats").spearmanr(one.ravel(), two.ravel()).statistic)
    peaks = [np.array(np.unravel_index(int(cells.argmax()), cells.shape)) for cells in (one, two)]
    cell = layout.short_side / min(one.shape) if layout.short_side else 1.0
    near = float(np.abs(peaks[0] - peaks[1]).max() * cell <= min(layout.sizes))
    return correlation, _box_overlap(one >= 0.5, two >= 0.5), near


def _box_overlap(one: npt.NDArray[np.bool_], two: npt.NDArray[np.bool_]) -> float:
    """Intersection over union of the boxes around the largest parts of two masks, of which none is empty.

    Examples
    --------
    >>> left, whole = np.array([[True, False]]), np.array([[True, True]])
    >>> _box_overlap(left, whole), _box_overlap(left, ~left)
    (0.5, 0.0)
    """
    boxes = [largest_component(mask) for mask in (one, two)]
    (a0, b0, a1, b1), (c0, d0, c1, d1) = (box or (0, 0, 0, 0) for box in boxes)
    shared = max(0, min(a1, c1) - max(a0, c0)) * max(0, min(b1, d1) - max(b0, d0))
    return shared / ((a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - shared)
