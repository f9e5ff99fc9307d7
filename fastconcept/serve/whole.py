"""Whole photographs of several requests, embedded and decomposed together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine import Engine
from ..errors import FastconceptError, ImageError
from ..sparse.result import Decomposition
from .lane import Lane
from .store import Store, size_of

Row = npt.NDArray[np.float32]
Options = tuple[tuple[str, Any], ...]  # keywords of decompose, sorted


@dataclass(frozen=True)
class Solved:
    """A decomposition and its document."""

    code: Decomposition
    document: dict[str, Any]


@dataclass(frozen=True)
class _Job:
    """A photograph, by its hash: its file or pixels, or its embedding if that is known; and how to decompose it."""

    digest: str
    photograph: Any
    row: Row | None
    options: Options | None  # None: the embedding is all that is wanted


class WholeImages:
    """Embeds and decomposes photographs in batches, and remembers the results.

    Parameters
    ----------
    engine : Engine
    store : Store
    **lane
        As for :class:`.lane.Lane`.
    """

    def __init__(self, engine: Engine, store: Store, **lane: Any) -> None:
        self._engine, self._store = engine, store
        self._lane: Lane[_Job, Any] = Lane("embed", self._batch, **lane)

    async def embed(self, digest: str, content: bytes | None) -> Row:
        """Embedding of a photograph, (d,) float32 of unit length; see :meth:`.service.Service.embed`."""
        row: Row | None = self._store.known("row", digest)
        return await self._lane.run(_Job(digest, self._photograph(digest, content), None, None)) if row is None else row

    async def decompose(self, digest: str, content: bytes | None, options: Mapping[str, Any]) -> Solved:
        """A photograph as a few words; see :meth:`.service.Service.decompose`."""
        sorted_options = tuple(sorted(options.items()))
        solved: Solved | None = self._store.known("decomposition", (digest, sorted_options))
        if solved is not None:
            return solved
        row: Row | None = self._store.known("row", digest)
        photograph = self._photograph(digest, content) if row is None else None
        return await self._lane.run(_Job(digest, photograph, row, sorted_options))  # type: ignore[no-any-return]

    def close(self) -> None:
        """Take no further photographs."""
        self._lane.close()

    def _photograph(self, digest: str, content: bytes | None) -> Any:
        return self._store.image(digest) if content is None else content

    # In a thread ----------------------------------------------------------------------------------------------------

    def _batch(self, jobs: list[_Job]) -> Sequence[Row | Solved | BaseException]:
        rows = self._rows(jobs)
        results: list[Any] = [rows[job.digest] for job in jobs]
        alike = defaultdict(list)
        for index, job in enumerate(jobs):
            if job.options is not None and not isinstance(results[index], ImageError):
                alike[job.options].append(index)
        for options, indices in alike.items():
            solved = self._solved([jobs[index].digest for index in indices], [results[i] for i in indices], options)
            for index, result in zip(indices, solved, strict=True):
                results[index] = result
        return results

    def _rows(self, jobs: list[_Job]) -> dict[str, Row | ImageError]:
        """Embeddings by hash, or why a photograph has none."""
        rows: dict[str, Any] = {job.digest: job.row for job in jobs if job.row is not None}
        left = {job.digest: job.photograph for job in jobs if job.digest not in rows}
        digests = list(left)

        def note(position: int, error: ImageError) -> None:
            rows[digests[position]] = error

        for batch, positions in self._engine.encode_batches(left.values(), on_error=note):
            for row, position in zip(batch, positions, strict=True):
                rows[digests[position]] = own = row.copy()  # else one row keeps the batch in memory
                self._store.put("row", digests[position], own, size_of(own))
        return rows

    def _solved(self, digests: list[str], rows: list[Row], options: Options) -> list[Solved | FastconceptError]:
        try:
            codes = self._engine.decompose(embeddings=np.stack(rows), **dict(options))
        except FastconceptError as error:
            return [error] * len(rows)
        found: list[Any] = []
        for digest, row, code in zip(digests, rows, codes, strict=True):
            solved = Solved(replace(code, original=row), code.to_dict())
            self._store.put("decomposition", (digest, options), solved, 2 * size_of(solved.document) + size_of(row))
            found.append(solved)
        return found
