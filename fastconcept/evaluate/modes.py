"""How far do the faster modes of evidence agree with crops, and how much faster are they?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRow, BadRows
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..pages.document import Report
from ..pages.plots import bars
from ..pages.tables import Table
from ..saliency.agreement import CROPS, compare_maps
from ..saliency.explain import embed
from ..saliency.layout import Layout, layout_for
from ..saliency.reading import Reader, Reading
from ..saliency.targets import Target, unrelated
from .cases import find_cases

Maps = npt.NDArray[np.float32]
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


@door
def modes(
    engine: Engine,
    dataset: Dataset,
    *,
    modes: Sequence[str] | None = None,
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
        Modes to compare with crops; by default every other mode that the engine has.
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
    compared_modes = engine.parts.modes[1:] if modes is None else list(modes)
    if not compared_modes or CROPS in compared_modes:
        raise InputError(f"modes must be others than crops; this model has {', '.join(engine.parts.modes)}")
    generator, bad = np.random.default_rng(seed), BadRows(dataset.bad, dataset.strict)
    layouts = {mode: layout_for(layout, mode) for mode in (CROPS, *compared_modes)}
    times: dict[str, list[float]] = {mode: [] for mode in layouts}
    pairs: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _, image, cases in find_cases(engine, dataset, bad, fit=layout.fit, progress=progress):
        present = [case.target for case in cases]
        absent = [unrelated(engine.bank, target, generator) for target in present]
        maps = {mode: _maps(engine, image, one, reading, present + absent, times) for mode, one in layouts.items()}
        near = _near(maps[CROPS], layout)
        for mode in compared_modes:
            for index in range(len(present) * 2):
                compared = compare_maps(maps[CROPS][index], maps[mode][index], near)
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


def _near(maps: Maps, layout: Layout) -> float:
    """A patch of the smallest size in cells of the map: how far apart peaks may lie."""
    cell = layout.short_side / min(maps.shape[1:]) if layout.short_side else 1.0
    return min(layout.sizes) / cell
