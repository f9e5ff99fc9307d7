"""Weakly supervised localisation: do the maps of a concept lie on the boxes of its objects?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRow
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..kernels.contract import PreparedBank
from ..pages.document import Report
from ..pages.plots import bars
from ..pages.tables import Table
from ..saliency.evidence import Evidence
from ..saliency.layout import Layout, layout_for
from ..saliency.reading import Reader, Reading
from ..saliency.targets import Target, unrelated
from . import boxes
from .bootstrap import paired_bootstrap
from .cases import Case, find_cases
from .evidence_store import EvidenceStore
from .nulls import apply_control, control_name
from .pixels import STEPS, pixel_average_precision, pixel_histogram
from .sweep import OTHER, OURS, SweepRow, sweep_table

Float = npt.NDArray[np.float64]
Entry = tuple[Float, Float, Float, float, Float | None]
PROTOCOLS = ("convis", "wsol")
CENTRE, FULL = "centre box", "full box"
MEASURES = {"MaxBoxAcc": "MaxBoxAcc", "MaxBoxAcc_wsol": "MaxBoxAcc (wsol)", "MaxBoxAccV2": "MaxBoxAccV2",
            "pointing": "pointing game", "PxAP": "PxAP"}  # fmt: skip


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
class LocalizeResult:
    """Result of :func:`localize`.

    Attributes
    ----------
    protocol : str
    mode : str
        How maps were made, in words.
    cases : list of (image, concept)
    methods : dict of name to Scores
        ``"map"`` is ours; the others are baselines and null controls.
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

    def report(self, settings: dict[str, object], sweep: Sequence[SweepRow] = ()) -> Report:
        """The finding in words, every method's measures, ours against each, the rows of a sweep, and plain values."""
        metrics = {name: scores.metrics() for name, scores in self.methods.items()}
        ours = metrics[OURS]
        beaten = [name for name, row in self.differences.items() if row["MaxBoxAcc"][1] > 0]
        columns = ["method", "MaxBoxAcc", "at threshold", "MaxBoxAcc (wsol)", "MaxBoxAccV2 (wsol)", "pointing game"]
        columns += ["PxAP"] if "PxAP" in ours else []
        tables = [Table("Methods side by side", columns, [[name, *row.values()] for name, row in metrics.items()])]
        tables.append(self._differences_table())
        if sweep:
            tables.append(sweep_table(sweep))
        series = {"MaxBoxAcc": [row["MaxBoxAcc"] for row in metrics.values()],
                  "pointing game": [row["pointing"] for row in metrics.values()]}  # fmt: skip
        return Report(
            "localize",
            f"Localisation, protocol {self.protocol}",
            f"On {len(self.cases)} objects the map reaches MaxBoxAcc {ours['MaxBoxAcc']:.3f}, MaxBoxAccV2 "
            f"{ours['MaxBoxAccV2']:.3f} and {ours['pointing']:.3f} in the pointing game; its MaxBoxAcc is above "
            f"{', '.join(beaten) or 'none of the others'} with the whole 95 % interval.",
            {**settings, "objects": len(self.cases), "maps": self.mode},
            tables,
            [("Box accuracy and pointing game", bars("box accuracy", list(metrics), series))],
            {
                "protocol": self.protocol,
                "mode": self.mode,
                "cases": len(self.cases),
                "methods": metrics,
                "differences": self.differences,
                "sweep": [asdict(row) for row in sweep],
            },
            self.bad,
            self.seconds,
        )

    def _differences_table(self) -> Table:
        measures = [name for name in MEASURES if all(name in row for row in self.differences.values())]
        return Table(
            "The map minus each of them",
            ["", *(MEASURES[name] for name in measures)],
            [[method, *(row[name] for name in measures)] for method, row in self.differences.items()],
            "Differences with 95 % paired bootstrap intervals over images; thresholds are chosen anew in each sample.",
        )


@door
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
    modes: Sequence[str] = (),
    progress: Progress = silent,
) -> LocalizeResult:
    """Localise every labelled object by the map of its concept, and by baselines and null controls.

    Parameters
    ----------
    engine : Engine
    dataset : Dataset
        Images with boxes or masks.
    protocol : {"convis", "wsol"}
        Whether the central square is looked at (``convis``) or the whole image (``wsol``). The box measures of both
        conventions are computed either way, see :mod:`fastconcept.evaluate.boxes`.
    concept : str, optional
        The one concept to look for in every image, instead of the labels.
    max_area : float in (0, 1]
        Categories whose largest box covers more than this part of the image are left out.
    layout : Layout
        Which places of an image are embedded; ``fit`` follows the protocol.
    reading : Reading
        How they are read into maps.
    part : {"largest", "peak", "heaviest"}
        Which component's box MaxBoxAcc takes, see :func:`fastconcept.evaluate.boxes.convis_curves`; the measures of
        wsolevaluation keep to their own.
    nulls : sequence of str
        Null controls, see :func:`fastconcept.evaluate.nulls.apply_control`.
    seed, repeats : int
        Seed of the controls, of the random concepts and of the bootstrap; number of bootstrap samples.
    wsol_steps : int
        Number of thresholds of the ``wsol`` convention: 256 or a divisor of it.
    cache : path, optional
        Directory in which patch embeddings are kept.
    modes : sequence of str
        Further modes of evidence, which stand in the same table with their null controls: ``"windows"`` and
        ``"windows, shuffled definitions"``. The layout's own mode is the ``map``.
    progress : callable
        Called with (images done, images).

    Returns
    -------
    LocalizeResult
        Next to the null controls stand ``random concept``, the map of a concept drawn anew for every case that is
        neither above nor below the right one; ``centre box``, a map that falls off from the centre so that its
        thresholds are centred boxes of every size; and ``full box``, the whole image.

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
    others = {mode: EvidenceStore(engine, layout_for(layout, mode), cache) for mode in modes}
    mapper = _Mapper(store, reading, nulls, seed, others)
    collected: dict[str, list[Entry]] = {}
    cases: list[tuple[str, str]] = []
    bad = dataset.bad_rows()
    for item, image, objects in find_cases(engine, dataset, bad, concept, max_area, layout.fit, progress):
        region, maps = mapper.maps(image, objects)
        for index, case in enumerate(objects):
            cases.append((item.name, case.target.name))
            for name, cells in maps.items():
                entry = _measured(cells[index], case.truth, case.mask, region, part, wsol_steps)
                collected.setdefault(name, []).append(entry)
    methods = {name: _scores(entries) for name, entries in collected.items()}
    groups = [name for name, _ in cases]
    return LocalizeResult(
        protocol,
        f"{layout.describe()}; read as {reading.describe()}{f'; box of the {part} part' * (part != 'largest')}",
        cases,
        methods,
        {name: compare(methods[OURS], other, groups, repeats, seed) for name, other in methods.items() if name != OURS},
        bad.rows,
        time.perf_counter() - began,
    )


class _Mapper:
    """Makes the maps of every method; holds the engines and stores that are the same for every image."""

    def __init__(
        self,
        store: EvidenceStore,
        reading: Reading,
        nulls: Sequence[str],
        seed: int,
        others: Mapping[str, EvidenceStore] = MappingProxyType({}),
    ) -> None:
        self._engine, self._reading, self._store, self._others = store.engine, reading, store, others
        self._random = np.random.default_rng(seed)
        self._null_banks = {}
        self._null_stores: dict[str, EvidenceStore] = {}  # by mode; "" is the layout's own
        for control in nulls:
            null = apply_control(store.engine, control, seed)
            if control == "random-encoder":
                layouts = {"": store.layout, **{mode: other.layout for mode, other in others.items()}}
                self._null_stores = {mode: EvidenceStore(null, one) for mode, one in layouts.items()}
            else:
                self._null_banks[control_name(control)] = null.prepared_bank

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
        maps |= self._nulls("", evidence, image, targets)
        for mode, store in self._others.items():
            other = store.evidence(image)
            maps[mode] = self._read(other, targets, real)
            maps |= {f"{mode}, {name}": cells for name, cells in self._nulls(mode, other, image, targets).items()}
        maps[CENTRE] = np.repeat(centre_map(64)[None], count, axis=0)
        maps[FULL] = np.ones((count, 64, 64), np.float32)
        return evidence.region, maps

    def _nulls(
        self, mode: str, evidence: Evidence, image: npt.NDArray[np.uint8], targets: Sequence[Target]
    ) -> dict[str, npt.NDArray[np.floating]]:
        """Maps of one mode under every null control."""
        maps: dict[str, npt.NDArray[np.floating]] = {}
        for name, prepared in self._null_banks.items():
            maps[name] = self._read(evidence, targets, prepared)
        if mode in self._null_stores:
            random = self._null_stores[mode].evidence(image)
            maps[control_name("random-encoder")] = self._read(random, targets, self._engine.prepared_bank)
        return maps

    def _read(self, evidence: Evidence, targets: Sequence[Target], bank: PreparedBank) -> npt.NDArray[np.float32]:
        with self._engine.place:
            reader = Reader(evidence, targets, bank, self._engine.kernels, self._engine.num_threads)
            return reader.maps(self._reading)


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
    differences = {
        name: paired_bootstrap(one.astype(np.float64), two.astype(np.float64), groups, None, repeats, seed)
        for name, (one, two) in pairs.items()
    }
    versions = [
        np.concatenate([side.wsol_any >= delta for delta in boxes.WSOL_DELTAS], axis=1).astype(np.float64)
        for side in (ours, other)
    ]
    differences["MaxBoxAccV2"] = paired_bootstrap(versions[0], versions[1], groups, _version_two, repeats, seed)
    if ours.pixels is not None and other.pixels is not None:
        seen = np.flatnonzero(ours.pixels.any(axis=(1, 2)))  # cases without a mask say nothing here
        flat = [side[seen].reshape(len(seen), -1) for side in (ours.pixels, other.pixels)]
        owners = [groups[k] for k in seen.tolist()]
        differences["PxAP"] = paired_bootstrap(flat[0], flat[1], owners, _pixel_ap, repeats, seed)
    return differences


def _version_two(means: Float) -> Float:
    best: Float = means.reshape(len(means), len(boxes.WSOL_DELTAS), -1).max(axis=2).mean(axis=1)
    return best


def _pixel_ap(means: Float) -> Float:
    return np.nan_to_num(pixel_average_precision(means.reshape(len(means), 2, STEPS)))
