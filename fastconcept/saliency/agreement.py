"""How far do the maps of a faster mode agree with those of crops, and may the mode then stand in for them?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..encoders.image_tower import ImageTower
from ..errors import InputError
from .components import largest_component
from .evidence import Evidence
from .explain import embed
from .layout import Layout
from .reading import Reader, Reading
from .survey import survey
from .targets import Target, unrelated

Maps = npt.NDArray[np.floating[Any]]
LEAST_PHOTOGRAPHS = 32
GATE = {"spearman": 0.8, "box": 0.6, "peak": 0.6}  # least agreement on present concepts of a mode that "auto" may take
CROPS = "crops"
_COARSE = 32  # stride of the crops in pixels: a quarter of the default's cost, and maps that agree with it to 0.94
_CONCEPTS = 2  # of a photograph that are seen in it, and as many that are not


class MapAgreement(NamedTuple):
    """Two maps of one concept: rank correlation of cells, IoU of boxes at 0.5, and whether peaks agree (1 or 0)."""

    spearman: float
    box: float
    peak: float


def compare_maps(one: Maps, two: Maps, near: float) -> MapAgreement | None:
    """How far two maps of one image agree.

    Parameters
    ----------
    one, two : (h, w) float in [0, 1]
        The second is resampled to the cells of the first where it has others.
    near : float
        Peaks agree if they lie at most this far apart, in cells of the first.

    Returns
    -------
    MapAgreement, or None
        None where a map is constant, so that it says nothing.

    Examples
    --------
    >>> slope = np.linspace(0, 1, 12).reshape(3, 4)
    >>> compare_maps(slope, slope, 1), compare_maps(slope, np.ones((3, 4)), 1)
    (MapAgreement(spearman=1.0, box=1.0, peak=1.0), None)
    """
    if one.min() == one.max() or two.min() == two.max():
        return None
    two = _resampled(two, one.shape)
    peaks = [np.array(np.unravel_index(int(cells.argmax()), cells.shape)) for cells in (one, two)]
    same = float(np.abs(peaks[0] - peaks[1]).max() <= near)
    return MapAgreement(rank_correlation(one.ravel(), two.ravel()), _box_overlap(one, two), same)


def rank_correlation(one: Maps, two: Maps) -> float:
    """Spearman's rank correlation of two vectors, equal values with their mean rank.

    Examples
    --------
    >>> rank_correlation(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.1, 0.2, 0.2, 0.9]))
    1.0
    """
    ranks = []
    for values in (one, two):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)])
    return round(float(np.corrcoef(ranks[0], ranks[1])[0, 1]), 12)


def measure_agreement(
    images: Iterable[npt.NDArray[np.uint8]],
    towers: Mapping[str, ImageTower],
    bank: ConceptBank,
    prepared: Any,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Compare modes with crops on photographs without labels.

    Concepts are the two that crops find first in a photograph (present), and two of the bank that share no concept with
    them (absent). Crops lie 32 pixels apart.

    Parameters
    ----------
    images : iterable of (H, W, 3) uint8
        Photographs, at least 32 for a gate to hold.
    towers : mapping of str to ImageTower
        By mode, ``"crops"`` among them.
    bank : ConceptBank
    prepared : PreparedBank
        The same as ``kernels.prepare_bank`` makes it.
    seed : int
        Of the absent concepts.

    Returns
    -------
    dict of mode to dict
        Of every mode but crops: ``photographs``, ``times_faster``, and for ``present`` and ``absent`` concepts the
        means ``spearman``, ``box`` and ``peak`` over their ``maps``.
    """
    generator = np.random.default_rng(seed)
    kernels, threads = towers[CROPS].kernels, towers[CROPS].num_threads
    seconds: dict[str, list[float]] = {mode: [] for mode in towers}
    found: dict[tuple[str, str], list[MapAgreement]] = {}
    for image in images:
        evidence = {mode: _timed(image, towers[mode], mode, seconds[mode]) for mode in towers}
        names = survey(evidence[CROPS], bank, prepared, kernels, _CONCEPTS, None, threads).names
        present = [Target(name, name, "", _members(bank, name)) for name in names]
        absent = [unrelated(bank, target, generator) for target in present]
        maps = {
            mode: Reader(one, present + absent, prepared, kernels, threads).maps(Reading())
            for mode, one in evidence.items()
        }
        near = min(evidence[CROPS].layout.sizes) / evidence[CROPS].grid.cell
        for mode in set(towers) - {CROPS}:
            for index, (one, two) in enumerate(zip(maps[CROPS], maps[mode], strict=True)):
                if (compared := compare_maps(one, two, near)) is not None:
                    found.setdefault((mode, "present" if index < len(present) else "absent"), []).append(compared)
    slow = float(np.median(seconds[CROPS][1:] or seconds[CROPS] or [0.0]))
    return {
        mode: {
            "photographs": len(seconds[CROPS]),
            "times_faster": round(slow / max(float(np.median(seconds[mode][1:] or seconds[mode])), 1e-9), 2),
            **{group: _means(found.get((mode, group), [])) for group in ("present", "absent")},
        }
        for mode in towers
        if mode != CROPS and seconds[CROPS]
    }


def holds(agreement: Mapping[str, Any]) -> bool:
    """Whether a mode with these numbers may stand in for crops: enough photographs, and the gate on present concepts.

    Examples
    --------
    >>> holds({"photographs": 40, "present": {"spearman": 0.9, "box": 0.7, "peak": 0.7}})
    True
    """
    present = agreement["present"]
    enough = agreement["photographs"] >= LEAST_PHOTOGRAPHS
    return bool(enough and all(present.get(name, 0.0) >= least for name, least in GATE.items()))


def fastest(agreements: Mapping[str, Mapping[str, Any]], modes: Iterable[str]) -> str:
    """The fastest of some modes whose gate holds; crops if none does.

    Raises
    ------
    InputError
        If nothing was measured.
    """
    if not agreements:
        raise InputError(
            'this model has no measured agreement of modes, which mode="auto" goes by: export it with --mean-images of '
            f"at least {LEAST_PHOTOGRAPHS} photographs, or name a mode"
        )
    passed = [mode for mode in modes if mode in agreements and holds(agreements[mode])]
    quicker = [mode for mode in passed if agreements[mode]["times_faster"] > 1]
    return max(quicker, key=lambda mode: float(agreements[mode]["times_faster"]), default=CROPS)


def _timed(image: npt.NDArray[np.uint8], tower: ImageTower, mode: str, seconds: list[float]) -> Evidence:
    """Evidence by a mode, as its default makes it but for the stride of crops; the time goes into ``seconds``."""
    layout = Layout(mode=mode, stride=_COARSE) if mode == CROPS else Layout(mode=mode)
    began = time.perf_counter()
    evidence = embed(image, tower, layout)
    spent = time.perf_counter() - began
    seconds.append(spent * (_COARSE / 16) ** 2 if mode == CROPS else spent)  # as long as at the default's stride of 16
    return evidence


def _members(bank: ConceptBank, name: str) -> npt.NDArray[np.int32]:
    members: npt.NDArray[np.int32] = np.asarray(bank.subtree(name), np.int32)
    return members


def _means(compared: list[MapAgreement]) -> dict[str, float]:
    means = np.mean(compared, axis=0).round(4).tolist() if compared else []
    return {"maps": len(compared), **dict(zip(MapAgreement._fields, means, strict=False))}


def _resampled(cells: Maps, shape: tuple[int, ...]) -> Maps:
    """A map on another grid of the same image, bilinear between the centres of cells."""
    if cells.shape == shape:
        return cells
    from PIL import Image

    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(cells.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))


def _box_overlap(one: Maps, two: Maps) -> float:
    """Intersection over union of the boxes around the largest parts of two maps at or above 0.5.

    Examples
    --------
    >>> _box_overlap(np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])), _box_overlap(np.eye(1), np.zeros((1, 1)))
    (0.5, 0.0)
    """
    boxes = [largest_component(cells >= 0.5) for cells in (one, two)]
    (a0, b0, a1, b1), (c0, d0, c1, d1) = (box or (0, 0, 0, 0) for box in boxes)
    shared = max(0, min(a1, c1) - max(a0, c0)) * max(0, min(b1, d1) - max(b0, d0))
    union = (a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - shared
    return shared / union if union else 0.0
