"""The same objects localised by many readings of the same patches: which choice lifts the maps, and by how much?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..engine import Engine
from ..errors import InputError
from ..saliency.explain import Options
from . import boxes
from .datasets import Dataset, Progress, silent
from .localization import find_cases
from .patch_embeddings import PatchStore
from .patch_maps import PatchScores, Reading
from .statistics import paired_bootstrap

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SweepRow:
    """What one reading reaches.

    Attributes
    ----------
    reading : Reading
    border : str
    accuracy, threshold : float
        MaxBoxAcc (``convis`` convention) and its best threshold.
    pointing : float
    lift : (difference, low, high)
        Of MaxBoxAcc over the first reading of the sweep, with a 95 % paired bootstrap interval over images.
    """

    reading: Reading
    border: str
    accuracy: float
    threshold: float
    pointing: float
    lift: tuple[float, float, float]


def readings(sizes: Sequence[tuple[int, ...]], inside: Sequence[bool] = (False,)) -> list[Reading]:
    """Every combination of patch sizes, place, score, aggregation, weights of scales, and smoothing.

    The first is the default of ``explain`` over the first sizes. One patch size has no weights of scales to vary.

    Examples
    --------
    >>> len(readings([(128, 64)])), len(readings([(64,)]))
    (24, 12)
    """
    scores, aggregates = ("rank", "log-rank", "similarity"), ("best-then-mean", "mean-then-best")
    choices = itertools.product(sizes, inside, scores, aggregates, ("area", "equal"), (False, True))
    return [
        Reading(group, within, aggregate, weights, score, smooth)
        for group, within, score, aggregate, weights, smooth in choices
        if len(group) > 1 or weights == "area"
    ]


def sweep(
    engine: Engine,
    dataset: Dataset,
    tried: Sequence[Reading],
    *,
    options: Options | None = None,
    borders: Iterable[str] = ("noise",),
    concept: str | None = None,
    max_area: float = 1.0,
    seed: int = 0,
    cache: str | None = None,
    progress: Progress = silent,
) -> list[SweepRow]:
    """Localise with every reading; the patches of an image are embedded once per border.

    Parameters
    ----------
    engine, dataset, options, concept, max_area, cache, progress
        As for :func:`fastconcept.tasks.localization.localize`; ``options.sizes`` are all that any reading uses.
    tried : sequence of Reading
        The first is what the others are compared with.
    borders : iterable of str
        What surrounds the image; see :class:`fastconcept.saliency.explain.Options`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of SweepRow
        One per border and reading, in order.

    Raises
    ------
    InputError
        If there is nothing to localise.
    """
    tried = list(dict.fromkeys(tried))
    kernels = engine.kernels
    stores = {border: PatchStore(engine, replace(options or Options(), border=border), cache) for border in borders}
    curves: dict[tuple[str, Reading], list[Float]] = {(b, r): [] for b in stores for r in tried}
    pointing: dict[tuple[str, Reading], list[float]] = {key: [] for key in curves}
    groups: list[str] = []
    done = {item.name: index for index, item in enumerate(dataset.items, start=1)}
    for item, image, cases in find_cases(engine, dataset, concept, max_area):
        targets = [case.target for case in cases]
        groups += [item.name] * len(cases)
        for border, store in stores.items():
            embedded = store.embed(image)
            scores = PatchScores(embedded, targets, engine.prepared_bank, kernels, engine.num_threads)
            truths = [boxes.to_unit(case.boxes, embedded.region) for case in cases]
            for reading in tried:
                for cells, truth in zip(scores.maps(reading), truths, strict=True):
                    curves[border, reading].append(boxes.convis_curve(cells, truth))
                    pointing[border, reading].append(boxes.pointing_game(cells, truth))
        progress(done[item.name], len(dataset.items))
    if not groups:
        raise InputError(f"nothing to localise in {dataset.name}; {len(dataset.bad.entries)} rows are bad")
    hits = {key: (np.stack(found) > 0.5).astype(np.float64) for key, found in curves.items()}
    first = next(iter(hits.values()))
    return [_row(key, hits[key], first, pointing[key], groups, seed) for key in hits]


def _row(
    key: tuple[str, Reading], hits: Float, first: Float, pointing: Sequence[float], groups: Sequence[str], seed: int
) -> SweepRow:
    rates = hits.mean(axis=0)
    threshold = float(boxes.CONVIS_THRESHOLDS[int(rates.argmax())])
    lift = paired_bootstrap(hits, first, groups, seed=seed)
    return SweepRow(key[1], key[0], float(rates.max()), threshold, float(np.mean(pointing)), lift)
