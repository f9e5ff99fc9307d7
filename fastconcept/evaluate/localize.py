"""Weakly supervised localisation: do the maps of a concept lie on the boxes of its objects?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRow
from ..engine import Engine
from ..errors import InputError
from ..kernels.contract import PreparedBank
from ..saliency.evidence import Evidence
from ..saliency.layout import Layout
from ..saliency.reading import Reader, Reading
from ..saliency.targets import Target
from . import boxes
from .bootstrap import paired_bootstrap
from .cases import Case, find_cases
from .evidence_store import EvidenceStore
from .nulls import apply_control
from .pixels import STEPS, pixel_average_precision, pixel_histogram

Float = npt.NDArray[np.float64]
Entry = tuple[Float, Float, Float, float, Float | None]
PROTOCOLS = ("convis", "wsol")
OURS, CENTRE, FULL, OTHER = "map", "centre box", "full box", "random concept"
NULL_NAMES = {"shuffled-definitions": "shuffled definitions", "random-vocabulary": "random vocabulary",
          "random-encoder": "random encoder"}  # fmt: skip


@dataclass
class Scores:
    """What one method reaches on n cases.

    Attributes
    ----------
    convis : (n, 100) float64
        IoU per threshold, see :func:`fastconcept.evaluate.boxes.convis_curve`.
    wsol, wsol_any : (n, 256) float64
        See :func:`fastconcept.evaluate.boxes.wsol_curves`.
    pointing : (n, 1) float64
    pixels : (n, 2, 1001) float64, or None
        See :func:`~fastconcept.evaluate.pixels.pixel_histogram`; zeros where a case has no mask, None where none has.
    """

    convis: Float
    wsol: Float
    wsol_any: Float
    pointing: Float
    pixels: Float | None = None

    def metrics(self) -> dict[str, float]:
        """MaxBoxAcc by both conventions, MaxBoxAccV2, the pointing game, the best threshold of the first, and PxAP."""
        accuracy, threshold = boxes.max_box_accuracy(self.convis)
        versions = [boxes.max_box_accuracy(self.wsol_any, delta, inclusive=True)[0] for delta in boxes.WSOL_DELTAS]
        pixels = {} if self.pixels is None else {"PxAP": float(pixel_average_precision(self.pixels.sum(axis=0)))}
        return {
            "MaxBoxAcc": accuracy,
            "threshold": float(boxes.CONVIS_THRESHOLDS[threshold]),
            "MaxBoxAcc_wsol": boxes.max_box_accuracy(self.wsol, 0.5, inclusive=True)[0],
            "MaxBoxAccV2": float(np.mean(versions)),
            "pointing": float(self.pointing.mean()),
            **pixels,
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
    bad : list of BadRow
    seconds : float
    """

    protocol: str
    mode: str
    cases: list[tuple[str, str]]
    methods: dict[str, Scores]
    differences: dict[str, dict[str, tuple[float, float, float]]]
    bad: list[BadRow]
    seconds: float


def localize(
    engine: Engine,
    dataset: Dataset,
    *,
    protocol: str = "wsol",
    concept: str | None = None,
    max_area: float = 1.0,
    layout: Layout = Layout(),
    reading: Reading = Reading(),
    part: str = "largest",
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
        Images with boxes or masks.
    protocol : {"convis", "wsol"}
        Whether the central square is looked at (``convis``) or the whole image (``wsol``). The box measures of both
        conventions are computed either way, see :mod:`fastconcept.evaluate.boxes`.
    concept : str, optional
        Look for this one concept everywhere.
    max_area : float in (0, 1]
        Keep to small objects: leave out categories whose largest box covers more than this part of the image.
    layout : Layout
        Which places of an image are embedded; ``fit`` follows the protocol.
    reading : Reading
        How they are read into maps.
    part : {"largest", "peak", "heaviest"}
        Which component's box MaxBoxAcc takes, see :func:`fastconcept.evaluate.boxes.convis_curves`; the measures of
        wsolevaluation keep to their own.
    nulls : sequence of str
        Controls of :func:`fastconcept.evaluate.nulls.apply_control` to run beside it.
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
    if part not in boxes.PARTS:
        raise InputError(f"part must be one of {', '.join(boxes.PARTS)}; got {part!r}")
    layout = replace(layout, fit="crop" if protocol == "convis" else "full")
    store = EvidenceStore(engine, layout, cache)
    room = _Room(store, reading, nulls, seed)
    collected: dict[str, list[Entry]] = {}
    cases: list[tuple[str, str]] = []
    bad = dataset.bad_rows()
    done = {item.name: index for index, item in enumerate(dataset.items, start=1)}
    for item, image, found in find_cases(engine, dataset, bad, concept, max_area, layout.fit):
        region, maps = room.maps(image, found)
        for index, case in enumerate(found):
            cases.append((item.name, case.target.name))
            for name, cells in maps.items():
                entry = _measured(cells[index], case.truth, case.mask, region, part, wsol_steps)
                collected.setdefault(name, []).append(entry)
        progress(done[item.name], len(dataset.items))
    if not cases:
        raise InputError(f"nothing to localise in {dataset.name}; {len(bad.rows)} rows are bad")
    methods = {name: _scores(entries) for name, entries in collected.items()}
    groups = [name for name, _ in cases]
    return Localization(
        protocol,
        f"{layout.describe()}; read as {reading.describe()}{f'; box of the {part} part' * (part != 'largest')}",
        cases,
        methods,
        {name: compare(methods[OURS], other, groups, repeats, seed) for name, other in methods.items() if name != OURS},
        bad.rows,
        time.perf_counter() - began,
    )


class _Room:
    """Everything that is the same for every image: engines, stores, and the maps they make."""

    def __init__(self, store: EvidenceStore, reading: Reading, nulls: Sequence[str], seed: int) -> None:
        self._engine, self._reading, self._store = store.engine, reading, store
        self._random = np.random.default_rng(seed)
        self._null_banks = {}
        self._null_store: EvidenceStore | None = None
        for control in nulls:
            null = apply_control(store.engine, control, seed)
            if control == "random-encoder":
                self._null_store = EvidenceStore(null, store.layout)
            else:
                self._null_banks[NULL_NAMES[control]] = null.prepared_bank

    def maps(
        self, image: npt.NDArray[np.uint8], cases: Sequence[Case]
    ) -> tuple[tuple[int, int, int, int], dict[str, npt.NDArray[np.floating]]]:
        """The region looked at, and maps (k, h, w) of the k cases by every method."""
        bank, evidence = self._engine.bank, self._store.evidence(image)
        targets = [case.target for case in cases]
        others = [unrelated(bank, target, self._random) for target in targets]
        count, real = len(targets), self._engine.prepared_bank
        both = self._read(evidence, targets + others, real)
        maps: dict[str, npt.NDArray[np.floating]] = {OURS: both[:count], OTHER: both[count:]}
        for name, prepared in self._null_banks.items():
            maps[name] = self._read(evidence, targets, prepared)
        if self._null_store is not None:
            maps[NULL_NAMES["random-encoder"]] = self._read(self._null_store.evidence(image), targets, real)
        maps[CENTRE] = np.repeat(centre_map(64)[None], count, axis=0)
        maps[FULL] = np.ones((count, 64, 64), np.float32)
        return evidence.region, maps

    def _read(self, evidence: Evidence, targets: Sequence[Target], bank: PreparedBank) -> npt.NDArray[np.float32]:
        with self._engine.place:
            reader = Reader(evidence, targets, bank, self._engine.kernels, self._engine.num_threads)
            return reader.maps(self._reading)


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


def _measured(
    cells: npt.NDArray[np.floating],
    truth: Float,
    mask: npt.NDArray[np.uint8] | None,
    region: tuple[int, int, int, int],
    part: str,
    steps: int,
) -> Entry:
    pixels = None if mask is None else pixel_histogram(cells, mask, region)
    curves = boxes.wsol_curves(cells, truth, steps)
    return boxes.convis_curve(cells, truth, part), *curves, boxes.pointing_game(cells, truth), pixels


def _scores(entries: Sequence[Entry]) -> Scores:
    convis, largest, best, pointing, pixels = zip(*entries, strict=True)
    counted = None
    if any(histogram is not None for histogram in pixels):
        counted = np.stack([np.zeros((2, STEPS)) if histogram is None else histogram for histogram in pixels])
    return Scores(np.stack(convis), np.stack(largest), np.stack(best), np.array(pointing)[:, None], counted)


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
    if ours.pixels is not None and other.pixels is not None:
        seen = np.flatnonzero(ours.pixels.any(axis=(1, 2)))  # cases without a mask say nothing here
        flat = [side[seen].reshape(len(seen), -1) for side in (ours.pixels, other.pixels)]
        found["PxAP"] = paired_bootstrap(flat[0], flat[1], [groups[k] for k in seen.tolist()], _pixel_ap, repeats, seed)
    return found


def _version_two(means: Float) -> Float:
    best: Float = means.reshape(len(means), len(boxes.WSOL_DELTAS), -1).max(axis=2).mean(axis=1)
    return best


def _pixel_ap(means: Float) -> Float:
    return np.nan_to_num(pixel_average_precision(means.reshape(len(means), 2, STEPS)))
