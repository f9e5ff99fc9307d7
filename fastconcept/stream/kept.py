"""Evidence that is kept from frame to frame: places whose pixels did not change are not embedded again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.image_tower import ImageTower
from ..saliency.crops import add_surroundings, embedded_boxes, plan_crops, whole_row
from ..saliency.evidence import Evidence
from ..saliency.explain import embed
from ..saliency.layout import Layout
from ..timings import Timings
from .changes import CELL, changed_cells, reduced

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Step:
    """What one frame added.

    Attributes
    ----------
    evidence : Evidence
        Of this frame.
    encoded : int
        Places that were embedded for it; 0 where all of the evidence was kept.
    made : float
        When the oldest of its rows was embedded, by the clock of the frames.
    """

    evidence: Evidence
    encoded: int
    made: float


class KeptEvidence:
    """The evidence of the latest frame, renewed where the next one differs from it.

    With crops, the patches that touch a changed cell are embedded, the others keep their rows. In other modes a row
    depends on the whole picture, and evidence is kept only where nothing changed. Pictures are compared with those that
    rows were made from, not with the previous frame, so that slow changes are seen, too.

    Parameters
    ----------
    tower : ImageTower
    layout : Layout
    tolerance : float
        See :func:`.changes.changed_cells`. At 0, a row is kept only for equal pixels.
    whole_age : float
        Seconds up to which the row of the whole picture is kept, changed or not.
    """

    def __init__(self, tower: ImageTower, layout: Layout, tolerance: float, whole_age: float) -> None:
        self._tower, self._layout, self._tolerance, self._whole_age = tower, layout, tolerance, whole_age
        self._reference: Pixels | None = None
        self._evidence: Evidence | None = None
        self._ages = np.empty(0)  # when each row was made, and the whole picture's

    def update(self, picture: Pixels, now: float, oldest: float, timings: Timings) -> Step:
        """Evidence of the next frame.

        Parameters
        ----------
        picture : (H, W, 3) uint8
        now : float
            Time of this frame; rows that are embedded now are that old.
        oldest : float
            Rows that were made before are embedded again, changed or not.
        timings : Timings
            Where stages are added, with one named ``compare``.
        """
        if self._layout.mode == "crops":
            return self._update_crops(picture, now, oldest, timings)
        with timings.stage("compare"):
            small = reduced(picture)
            fits = self._fits(small)
            same = fits and float(self._ages.min()) >= oldest and not self._changed(small, CELL).any()
        if same and self._evidence is not None:
            self._evidence = replace(self._evidence, image=picture, timings_ms=timings)
            return Step(self._evidence, 0, float(self._ages.min()))
        whole = self._recent_whole(now, oldest) if fits else None

        def kept(key: str, count: int, make: Callable[[], Any]) -> Any:
            return whole if key == "whole" and whole is not None else make()

        self._evidence = embed(picture, self._tower, self._layout, timings, remember=kept)
        self._reference, self._ages = small, np.array([now, now if whole is None else self._ages[-1]])
        return Step(self._evidence, len(self._evidence), float(self._ages.min()))

    def _recent_whole(self, now: float, oldest: float) -> Any:
        """The row of the whole picture, if it may be kept."""
        if self._evidence is None or self._ages[-1] < max(oldest, now - self._whole_age) or self._whole_age <= 0:
            return None
        return self._evidence.whole

    def _fits(self, picture: Pixels) -> bool:
        return self._reference is not None and self._reference.shape == picture.shape

    def _changed(self, picture: Pixels, cell: int) -> npt.NDArray[np.bool_]:
        assert self._reference is not None
        return changed_cells(self._reference, picture, cell, self._tolerance)

    def _update_crops(self, picture: Pixels, now: float, oldest: float, timings: Timings) -> Step:
        tower, kernels = self._tower, self._tower.kernels
        plan = plan_crops(picture.shape[0], picture.shape[1], self._layout)
        boxes, uploaded = embedded_boxes(plan, self._layout), kernels.upload(picture)
        with timings.stage("preprocess"):
            bordered = add_surroundings(uploaded, plan, self._layout, tower)
        with timings.stage("compare"):
            seen: Pixels = kernels.to_host(bordered)
            kept = self._evidence if self._fits(seen) else None
            if kept is None or self._reference is None:
                cells = np.ones([-(-side // plan.grid.cell) for side in seen.shape[:2]], bool)
                self._reference, self._ages = seen.copy(), np.full(len(plan.grid) + 1, now)
                wanted = np.ones(len(plan.grid), bool)
            else:
                cells = self._changed(seen, plan.grid.cell)
                wanted = touched(boxes // plan.grid.cell, cells) | (self._ages[:-1] < oldest)
        rows = self._renewed(bordered, boxes, plan.grid.sides, wanted, None if kept is None else kept.rows, timings)
        unchanged = kept is not None and not cells.any() and self._ages[-1] >= oldest
        whole = kept.whole if kept is not None and unchanged else self._recent_whole(now, oldest) if kept else None
        if whole is None:
            whole = whole_row(uploaded, tower, timings)
            self._ages[-1] = now
        self._ages[:-1][wanted] = now
        pixels = np.repeat(np.repeat(cells, plan.grid.cell, axis=0), plan.grid.cell, axis=1)
        np.copyto(self._reference, seen, where=pixels[: seen.shape[0], : seen.shape[1], None])
        self._evidence = Evidence(picture, self._layout, plan.grid, rows, whole, plan.region, timings)
        return Step(self._evidence, int(wanted.sum()), float(self._ages.min()))

    def _renewed(
        self,
        bordered: Any,
        boxes: npt.NDArray[np.int32],
        sides: npt.NDArray[np.int32],
        wanted: npt.NDArray[np.bool_],
        rows: Any,
        timings: Timings,
    ) -> Any:
        """Rows of all patches, those that are wanted embedded; size by size, as they are without a stream."""
        kernels, made = self._tower.kernels, []
        for size in self._layout.strides:
            chosen = np.flatnonzero(wanted & (sides == size))
            if len(chosen):
                made.append((chosen, self._tower.encode_boxes(bordered, boxes[chosen], timings)))
        if rows is None:
            return np.concatenate([part for _, part in made])
        if made:
            rows = rows.copy()
            for chosen, part in made:
                rows[kernels.upload(chosen)] = part
        return rows


def touched(boxes: npt.NDArray[np.int32], cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which boxes, x0, y0, x1, y1 in cells, lie on at least one of some cells.

    Examples
    --------
    >>> touched(np.array([[0, 0, 1, 1], [0, 0, 2, 1]]), np.array([[False, True]])).tolist()
    [False, True]
    """
    sums = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), np.int64)
    sums[1:, 1:] = cells.cumsum(axis=0).cumsum(axis=1)
    x0, y0, x1, y1 = boxes.T
    hit: npt.NDArray[np.bool_] = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] > 0
    return hit
