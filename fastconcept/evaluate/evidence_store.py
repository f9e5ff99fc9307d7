"""Evidence of many images, kept on disk if wanted, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine import Engine
from ..files import whole_file
from ..saliency.evidence import Evidence
from ..saliency.explain import embed
from ..saliency.layout import Layout

FloatArray = npt.NDArray[np.float32]


class EvidenceStore:
    """Makes the evidence of images as ``engine.explain`` does, and keeps its rows in a directory if one is given.

    There is one file per image and patch size, and one per image for the row of the whole, named by a digest of the
    pixels, the encoder and everything that decides what the patches show: another image, model or layout never finds
    it. Files are plain ``.npy``, written whole or not at all.

    Parameters
    ----------
    engine : Engine
    layout : Layout
    directory : path, optional
        Created if it does not exist. None keeps nothing.
    """

    def __init__(self, engine: Engine, layout: Layout, directory: str | os.PathLike[str] | None = None) -> None:
        self.engine, self.layout = engine, layout
        self._directory = Path(directory) if directory is not None else None
        self._model = ""
        if directory is not None:
            manifest = engine.bundle.manifest
            self._model = f"{manifest.image_digest} {manifest.preprocess} {manifest.split} {manifest.dense}"

    def evidence(self, image: npt.NDArray[np.uint8]) -> Evidence:
        """The evidence of a decoded image, (H, W, 3) uint8."""
        parts = self.engine.parts
        options: dict[str, Any] = {}
        if self._directory is not None:
            options["remember"] = self._remember_of(image, self._directory)
        with parts.place:
            return embed(image, parts.image_tower(self.layout.mode), self.layout, **options)

    def _remember_of(
        self, image: npt.NDArray[np.uint8], directory: Path
    ) -> Callable[[str, int, Callable[[], Any]], Any]:
        kernels, dim = self.engine.kernels, self.engine.parts.embedding_dim
        pixels = hashlib.sha256(image.tobytes()).hexdigest()

        def remember(key: str, count: int, make: Callable[[], Any]) -> Any:
            digest = hashlib.sha256(f"{self._model} {key} {image.shape} {pixels}".encode()).hexdigest()[:40]
            path = (directory / "whole" if key == "whole" else directory) / f"{digest}.npy"
            rows = _read(path, (count, dim))
            if rows is None:
                rows = kernels.to_host(make())
                _write_whole(path, rows)
            return kernels.upload(rows)

        return remember


def _read(path: Path, shape: tuple[int, int]) -> FloatArray | None:
    """Rows that were kept before; None where there are none of this shape."""
    if not path.is_file():
        return None
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.shape == shape and rows.dtype == np.float32 else None


def _write_whole(path: Path, rows: FloatArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as stream:
        np.save(stream, rows, allow_pickle=False)
