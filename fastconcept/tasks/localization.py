"""Weakly supervised localisation: do the maps of a concept lie on the boxes of its objects?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..engine import Engine
from ..errors import ConceptError, ImageError, InputError
from ..saliency.explain import Options
from ..saliency.targets import Target, resolve_targets
from . import boxes
from .controls import RandomEncoder, apply_control
from .datasets import Dataset, Progress, silent
from .items import BadRows, Box, Item
from .patch_embeddings import PatchStore
from .patch_maps import PatchScores, Reading
from .statistics import paired_bootstrap

Float = npt.NDArray[np.float64]
PROTOCOLS = ("convis", "wsol")
OURS, CENTRE, FULL, OTHER = "map", "centre box", "full box", "random concept"
_NULLS = {"shuffled-definitions": "shuffled definitions", "random-vocabulary": "random vocabulary",
          "random-encoder": "random encoder"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One thing to localise in one image: the boxes of one category, and the concept it stands for."""

    item: Item
    target: Target
    boxes: tuple[Box, ...]


@dataclass
class Scores:
    """What one method reaches on n cases.

    Attributes
    ----------
    convis : (n, 100) float64
        IoU per threshold, see :func:`fastconcept.tasks.boxes.convis_curve`.
    wsol, wsol_any : (n, 256) float64
        See :func:`fastconcept.tasks.boxes.wsol_curves`.
    pointing : (n, 1) float64
    """

    convis: Float
    wsol: Float
    wsol_any: Float
    pointing: Float

    def metrics(self) -> dict[str, float]:
        """MaxBoxAcc by both conventions, MaxBoxAccV2, the pointing game, and the best threshold of the first."""
        accuracy, threshold = boxes.max_box_accuracy(self.convis)
        versions = [boxes.max_box_accuracy(self.wsol_any, delta, inclusive=True)[0] for delta in boxes.WSOL_DELTAS]
        return {
            "MaxBoxAcc": accuracy,
            "threshold": float(boxes.CONVIS_THRESHOLDS[threshold]),
            "MaxBoxAcc_wsol": boxes.max_box_accuracy(self.wsol, 0.5, inclusive=True)[0],
            "MaxBoxAccV2": float(np.mean(versions)),
            "pointing": float(self.pointing.mean()),
        }


@dataclass(frozen=True)
class Localization:
    """Result of :func:`localize`.

    Attributes
    ----------
    protocol : str
    mode : str
        How maps were made, in words.
    cases : list of (image, concept)
    methods : dict of name to Scores
        ``"map"`` is ours; the others are baselines and nulls.
    differences : dict of name to dict of metric to (difference, low, high)
        Ours minus the other, with 95 % paired bootstrap intervals over images.
    pixel_ap : dict of name to float
        PxAP, where items have masks.
    bad : list of (name, reason)
    seconds : float
    """

    protocol: str
    mode: str
    cases: list[tuple[str, str]]
    methods: dict[str, Scores]
    differences: dict[str, dict[str, tuple[float, float, float]]]
    pixel_ap: dict[str, float]
    bad: list[tuple[str, str]]
    seconds: float


def find_cases(
    engine: Engine, dataset: Dataset, concept: str | None = None, max_area: float = 1.0
) -> Iterator[tuple[Item, npt.NDArray[np.uint8], list[Case]]]:
    """Decode images one by one and say what is to be found in each.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Items with boxes; those of an item that share a label are one case.
    concept : str, optional
        What to look for in every image, instead of the labels (``bird.n.01`` on CUB-200-2011).
    max_area : float in (0, 1]
        Leave out categories whose largest box covers more than this part of the image.

    Yields
    ------
    item, image (H, W, 3) uint8, cases
        Images that cannot be read, boxes outside the image and labels that name no concept go to ``dataset.bad``.
    """
    known: dict[str, Target | None] = {}
    for item in dataset.items:
        if not item.boxes:
            dataset.bad.add(item.name, "has no box")
            continue
        try:
            image = engine.load_image(item.image or item.name)
        except ImageError as error:
            dataset.bad.add(item.name, str(error))
            continue
        height, width = image.shape[:2]
        groups: dict[str, list[Box]] = {}
        for box, label in zip(item.boxes, item.box_labels, strict=True):
            if min(box[:2]) < -1 or box[2] > width + 1 or box[3] > height + 1:
                dataset.bad.add(item.name, f"has a box outside its {width} x {height} pixels: {box}")
            else:
                groups.setdefault(concept or label or item.label or "", []).append(box)
        cases = []
        for label, found in groups.items():
            if max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in found) > max_area * width * height:
                continue
            target = _target(engine, label, known, item, dataset.bad)
            if target is not None:
                cases.append(Case(item, target, tuple(found)))
        if cases:
            yield item, image, cases


def _target(engine: Engine, label: str, known: dict[str, Target | None], item: Item, bad: BadRows) -> Target | None:
    if label not in known:
        try:
            known[label] = resolve_targets(label, engine.bank, engine.encode_text)[0]
        except ConceptError as error:
            known[label] = None
            bad.add(item.name, f"label {label!r} names no concept: {error}")
    elif known[label] is None:
        bad.add(item.name, f"label {label!r} names no concept")
    return known[label]


def localize(
    engine: Engine,
    dataset: Dataset,
    *,
    protocol: str = "wsol",
    concept: str | None = None,
    max_area: float = 1.0,
    options: Options | None = None,
    reading: Reading | None = None,
    nulls: Sequence[str] = ("shuffled-definitions",),
    seed: int = 0,
    repeats: int = 2000,
    wsol_steps: int = 256,
    cache: str | None = None,
    progress: Progress = silent,
) -> Localization:
    """Localise every labelled object by the map of its concept, beside baselines and nulls on the same cases.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Images with boxes.
    protocol : {"convis", "wsol"}
        Whether the central square is looked at (``convis``) or the whole image (``wsol``). The box measures of both
        conventions are computed either way, see :mod:`fastconcept.tasks.boxes`.
    concept : str, optional
        Look for this one concept everywhere.
    max_area : float in (0, 1]
        Keep to small objects: leave out categories whose largest box covers more than this part of the image.
    options : Options, optional
        Which patches are embedded; ``fit`` follows the protocol.
    reading : Reading, optional
        How they are read into maps; by default as the options say.
    nulls : sequence of str
        Controls of :func:`fastconcept.tasks.controls.apply_control` to run beside it.
    seed, repeats : int
        Of the controls, the random concepts and the bootstrap; samples of the bootstrap.
    wsol_steps : int
        Thresholds of the ``wsol`` convention: 256 or a divisor of it.
    cache : path, optional
        Directory in which patch embeddings are kept.
    progress : callable
        Called with (images done, images).

    Returns
    -------
    Localization
        Beside the nulls: ``random concept``, the map of a concept drawn anew for every case that is neither above
        nor below the right one; ``centre box``, a map that falls off from the centre so that its thresholds are
        centred boxes of every size; ``full box``, the whole image.

    Raises
    ------
    InputError
        If the protocol or a control is unknown, or no case is left.

    Source: Giulivi & Boracchi, arXiv 2405.14563, section 5; Choe et al., arXiv 2001.07437.
    """
    began = time.perf_counter()
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol must be one of {', '.join(PROTOCOLS)}; got {protocol!r}")
    if wsol_steps < 1 or 256 % wsol_steps:
        raise InputError(f"wsol_steps must divide 256, got {wsol_steps}")
    options = replace(options or Options(), fit="crop" if protocol == "convis" else "full")
    reading = reading or Reading((), False, options.aggregate, options.scale_weights, options.score)
    room = _Room(engine, options, reading, nulls, seed, cache)
    collected: dict[str, list[tuple[Float, Float, Float, float]]] = {}
    histograms: dict[str, Float] = {}
    cases: list[Case] = []
    done = {item.name: index for index, item in enumerate(dataset.items, start=1)}
    for item, image, found in find_cases(engine, dataset, concept, max_area):
        region, maps = room.maps(image, found)
        for index, case in enumerate(found):
            try:
                truth = boxes.to_unit(case.boxes, region)
            except InputError as error:
                dataset.bad.add(item.name, str(error))
                continue
            cases.append(case)
            for name, cells in maps.items():
                entry = (*_curves(cells[index], truth, wsol_steps), boxes.pointing_game(cells[index], truth))
                collected.setdefault(name, []).append(entry)
        if item.mask is not None:
            _add_pixels(engine, item, maps, region, histograms, dataset.bad)
        progress(done[item.name], len(dataset.items))
    if not cases:
        raise InputError(f"nothing to localise in {dataset.name}; {len(dataset.bad.entries)} rows are bad")
    methods = {name: _scores(entries) for name, entries in collected.items()}
    groups = [case.item.name for case in cases]
    return Localization(
        protocol,
        f"{options.describe()}; read as {reading.describe()}",
        [(case.item.name, case.target.name) for case in cases],
        methods,
        {name: compare(methods[OURS], other, groups, repeats, seed) for name, other in methods.items() if name != OURS},
        {name: boxes.pixel_average_precision(histogram) for name, histogram in histograms.items()},
        dataset.bad.entries,
        time.perf_counter() - began,
    )


class _Room:
    """Everything that is the same for every image: engines, stores, and the maps they make."""

    def __init__(
        self, engine: Engine, options: Options, reading: Reading, nulls: Sequence[str], seed: int, cache: str | None
    ) -> None:
        self._engine, self._reading = engine, reading
        self._kernels = engine.kernels
        self._store = PatchStore(engine, options, cache)
        self._random = np.random.default_rng(seed)
        self._null_banks = {}
        self._null_store: PatchStore | None = None
        for control in nulls:
            null = apply_control(engine, control, seed)
            if isinstance(null.image_encoder, RandomEncoder):
                self._null_store = PatchStore(null, options, None)
            else:
                self._null_banks[_NULLS[control]] = null.bank.embeddings

    def maps(
        self, image: npt.NDArray[np.uint8], cases: Sequence[Case]
    ) -> tuple[tuple[int, int, int, int], dict[str, npt.NDArray[np.floating]]]:
        """The region looked at, and maps (k, h, w) of the k cases by every method."""
        bank, embedded = self._engine.bank, self._store.embed(image)
        targets = [case.target for case in cases]
        others = [unrelated(bank, target, self._random) for target in targets]
        count, threads = len(targets), self._engine.num_threads
        both = PatchScores(embedded, targets + others, bank.embeddings, self._kernels, threads).maps(self._reading)
        maps: dict[str, npt.NDArray[np.floating]] = {OURS: both[:count], OTHER: both[count:]}
        for name, rows in self._null_banks.items():
            maps[name] = PatchScores(embedded, targets, rows, self._kernels, threads).maps(self._reading)
        if self._null_store is not None:
            drawn = self._null_store.embed(image)
            scores = PatchScores(drawn, targets, bank.embeddings, self._kernels, threads)
            maps[_NULLS["random-encoder"]] = scores.maps(self._reading)
        maps[CENTRE] = np.repeat(centre_map(64)[None], count, axis=0)
        maps[FULL] = np.ones((count, 64, 64), np.float32)
        return embedded.region, maps


def unrelated(bank: ConceptBank, target: Target, generator: np.random.Generator) -> Target:
    """A concept of the bank, drawn at random, that shares no member with another."""
    for _ in range(1000):
        name = bank.names[int(generator.integers(len(bank)))]
        members = bank.subtree(name)
        if target.members is None or not np.isin(members, target.members).any():
            break  # a concept as wide as the root leaves nothing unrelated: then any will do
    return Target(name, name, "drawn at random", members)


def centre_map(side: int) -> npt.NDArray[np.float32]:
    """A (side, side) map in [0, 1] whose threshold sets are centred squares of every size.

    Examples
    --------
    >>> centre_map(4).round(2).tolist()[1]
    [0.0, 1.0, 1.0, 0.0]
    """
    away = np.abs(np.arange(side) - (side - 1) / 2)
    far = np.maximum(away[:, None], away[None, :])
    falling: npt.NDArray[np.float32] = (1 - (far - far.min()) / (far.max() - far.min())).astype(np.float32)
    return falling


def _curves(cells: npt.NDArray[np.floating], truth: Float, steps: int) -> tuple[Float, Float, Float]:
    return boxes.convis_curve(cells, truth), *boxes.wsol_curves(cells, truth, steps)


def _scores(entries: Sequence[tuple[Float, Float, Float, float]]) -> Scores:
    convis, largest, best, pointing = zip(*entries, strict=True)
    return Scores(np.stack(convis), np.stack(largest), np.stack(best), np.array(pointing)[:, None])


def compare(
    ours: Scores, other: Scores, groups: Sequence[object], repeats: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Difference of every metric between two methods, with its paired bootstrap interval (95 %).

    Thresholds are chosen anew for each method in each sample.
    """
    pairs = {
        "MaxBoxAcc": (ours.convis > 0.5, other.convis > 0.5),
        "MaxBoxAcc_wsol": (ours.wsol >= 0.5, other.wsol >= 0.5),
        "pointing": (ours.pointing, other.pointing),
    }
    found = {
        name: paired_bootstrap(one.astype(np.float64), two.astype(np.float64), groups, None, repeats, seed)
        for name, (one, two) in pairs.items()
    }
    versions = [
        np.concatenate([side.wsol_any >= delta for delta in boxes.WSOL_DELTAS], axis=1).astype(np.float64)
        for side in (ours, other)
    ]
    found["MaxBoxAccV2"] = paired_bootstrap(versions[0], versions[1], groups, _version_two, repeats, seed)
    return found


def _version_two(means: Float) -> Float:
    best: Float = means.reshape(len(means), len(boxes.WSOL_DELTAS), -1).max(axis=2).mean(axis=1)
    return best


def _add_pixels(
    engine: Engine,
    item: Item,
    maps: dict[str, npt.NDArray[np.floating]],
    region: tuple[int, int, int, int],
    histograms: dict[str, Float],
    bad: BadRows,
) -> None:
    """Count the pixels of object and background at each of 1,000 map values (first case of the item)."""
    from PIL import Image

    assert item.mask is not None
    try:
        mask = engine.load_image(item.mask).max(axis=2) > 0
    except ImageError as error:
        bad.add(item.name, str(error))
        return
    x0, y0, x1, y1 = region
    truth = np.asarray(Image.fromarray(mask[y0:y1, x0:x1]).resize((boxes.WSOL_SIZE,) * 2, Image.Resampling.NEAREST))
    for name, cells in maps.items():
        picture = Image.fromarray(np.asarray(cells[0], np.float32))
        values = np.asarray(picture.resize((boxes.WSOL_SIZE,) * 2, Image.Resampling.BILINEAR))
        steps = np.minimum((np.clip(values, 0, 1) * 1000).astype(int), 999)
        counts = np.stack([np.bincount(steps[truth == side], minlength=1000) for side in (False, True)])
        histograms[name] = histograms.get(name, np.zeros((2, 1000))) + counts
