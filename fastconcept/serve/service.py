"""An engine as requests use it: its work is done by threads, in batches, and what was made is remembered."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from ..engine import SHOWN_CONCEPTS, Engine
from ..errors import ImageError, InputError
from ..saliency.crops import plan_crops
from ..saliency.evidence import Evidence
from ..saliency.layout import Layout
from ..saliency.reading import Reading
from ..saliency.result import Explanation
from .lane import Lane
from .limits import MEBIBYTE, Limits
from .metrics import Metrics
from .store import Store
from .whole import Row, Solved, WholeImages

P = ParamSpec("P")
R = TypeVar("R")


class Service:
    """What the routes of a server share.

    Work of the engine is done in three lanes, so that what is quick does not wait for what is slow: ``evidence`` makes
    evidence of one photograph at a time, ``embed`` embeds and decomposes whole photographs in batches, ``read`` does
    everything else (decoding, reading evidence, drawing).

    Parameters
    ----------
    engine : Engine
    limits : Limits

    Attributes
    ----------
    store : Store
        What is remembered of photographs.
    metrics : Metrics
    name : str
        Of the bundle.
    draining : bool
        Whether the server is about to end.
    """

    def __init__(self, engine: Engine, limits: Limits = Limits()) -> None:
        self.engine, self.limits, self.metrics = engine, limits, Metrics()
        self.store = Store(engine, int(limits.max_store * MEBIBYTE), self.metrics.looked_up)
        self.metrics.store.set_function(lambda: self.store.memory.bytes)
        self.draining = False
        self.name = engine.bundle.path.name if engine.parts.from_bundle else "in memory"  # paths stay on this machine
        shared: dict[str, Any] = {"max_waiting": limits.max_waiting, "observer": self.metrics}
        self._evidence: Lane[Callable[[], Any], Any] = Lane("evidence", _each, **shared)
        self._read: Lane[Callable[[], Any], Any] = Lane("read", _each, threads=min(4, os.cpu_count() or 1), **shared)
        batches = {"max_batch": limits.max_batch, "window": limits.batch_window / 1e3}
        self._whole = WholeImages(engine, self.store, **batches, **shared)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in a thread of the lane for quick work; errors as :meth:`.lane.Lane.run`."""
        result: R = await self._read.run(partial(function, *args, **kwargs))
        return result

    async def run_slowly(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in the lane for slow work, after what waits there; errors as :meth:`.lane.Lane.run`."""
        result: R = await self._evidence.run(partial(function, *args, **kwargs))
        return result

    async def add(self, content: bytes) -> str:
        """Decode a photograph and remember it; its hash. Errors as :meth:`.store.Store.add`."""
        return await self.run(self.store.add, content)

    async def evidence(self, digest: str, layout: Layout = Layout(), content: bytes | None = None) -> Evidence:
        """Evidence of a photograph, made in its turn unless it is remembered.

        Parameters
        ----------
        digest : str
            The photograph's hash.
        layout : Layout
        content : bytes, optional
            The photograph's file; it is needed if it was not added before.

        Raises
        ------
        ImageError, InputError
            If the photograph cannot be read, or has more patches than the limits allow.
        UnknownImageError
            If it is not remembered and there is no content.
        OverloadedError
            If too many others wait.
        """
        if self.store.has_evidence(digest, layout):
            return self.store.evidence(digest, layout)
        pixels = await self.run(self.store.image, digest, content)
        self._check_patches(pixels, layout)
        return await self.run_slowly(self._make_evidence, digest, layout, content)

    def _make_evidence(self, digest: str, layout: Layout, content: bytes | None) -> Evidence:
        evidence = self.store.evidence(digest, layout, content)
        self.metrics.stages(evidence.timings_ms)
        return evidence

    def _check_patches(self, pixels: npt.NDArray[np.uint8], layout: Layout) -> None:
        count = len(plan_crops(pixels.shape[0], pixels.shape[1], layout).grid)
        if count > self.limits.max_patches:
            raise InputError(
                f"these choices take {count:,} patches, this server's limit is {self.limits.max_patches:,}; "
                "try a larger stride or a smaller short_side"
            )

    async def embed(self, digest: str, content: bytes | None = None) -> Row:
        """Embedding of a whole photograph, (d,) float32 of unit length, made together with those of other requests.

        Raises
        ------
        ImageError
            If the photograph cannot be read.
        UnknownImageError
            If it is not remembered and there is no content.
        OverloadedError
            If too many others wait.
        """
        return await self._whole.embed(digest, content)

    async def decompose(self, digest: str, content: bytes | None = None, **options: Any) -> Solved:
        """A photograph as a few words, together with those of other requests; errors as :meth:`embed`.

        Raises
        ------
        InputError
            If an option is out of range.
        """
        return await self._whole.decompose(digest, content, options)

    # In a thread --------------------------------------------------------------------------------------------------

    def explained(self, evidence: Evidence, concepts: Sequence[str] | None, reading: Reading) -> Explanation:
        """Maps of concepts, or of those that are seen best, as :meth:`fastconcept.Engine.explain` gives them."""
        timings = evidence.timings_ms
        if concepts is None:
            seen = self.engine.concepts(evidence, SHOWN_CONCEPTS)
            concepts, timings = seen.names, seen.timings_ms
        explanation = self.engine.read(replace(evidence, timings_ms=timings), concepts, **reading.keywords())
        self.metrics.stages({name: explanation.timings_ms[name] for name in ("ranks", "maps")})
        return explanation

    def check(self, method: str, **options: Any) -> None:
        """Ask the engine about an empty photograph: what is wrong with a request beside its photograph is an error now.

        Raises
        ------
        InputError
            If an option or a concept is wrong.
        """
        with contextlib.suppress(ImageError):
            getattr(self.engine, method)(b"", **options)

    # ---------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the threads when their work is done."""
        for lane in (self._evidence, self._read, self._whole):
            lane.close()


def _each(jobs: list[Callable[[], Any]]) -> list[Any]:
    return [job() for job in jobs]
