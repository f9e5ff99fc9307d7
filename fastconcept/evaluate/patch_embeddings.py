"""The embeddings of an image's patches: made once, then read for any number of concepts, scores and patch sizes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine import Engine
from ..errors import InputError
from ..saliency import patches
from ..saliency.explain import Options, embed_patches

FloatArray = npt.NDArray[np.float32]


class Uncovered(InputError):
    """The chosen patches leave a part of the image out."""


@dataclass(frozen=True)
class PatchEmbeddings:
    """The patches of one image and what the encoder makes of them.

    Attributes
    ----------
    grid : PatchGrid
        Where the n patches lie.
    rows : (n, d) float32
        Their embeddings, unit rows.
    region : (x0, y0, x1, y1)
        The part of the original image that the grid covers, in pixels.
    strides : mapping of int to int
        Patch size to the stride at which it was embedded.
    """

    grid: patches.PatchGrid
    rows: FloatArray
    region: tuple[int, int, int, int]
    strides: Mapping[int, int]

    def chosen(
        self, sizes: tuple[int, ...] = (), inside: bool = False, strides: tuple[int, ...] = ()
    ) -> npt.NDArray[np.bool_]:
        """Which patches are of some sizes and strides.

        Parameters
        ----------
        sizes : tuple of int
            Sides in pixels, all of them among the sizes that were embedded; () means all.
        inside : bool
            Leave out the patches that hang over the edge of the image.
        strides : tuple of int
            One per size, a multiple of what was embedded; () takes all patches.

        Returns
        -------
        (n,) bool

        Raises
        ------
        InputError
            If a size was not embedded, or not at that stride.
        """
        cells, starts, wanted = self.grid.cells, self.grid.boxes[:, :2], np.zeros(len(self.grid), bool)
        sides = self.grid.boxes[:, 2] - self.grid.boxes[:, 0]
        ends = np.array(self.grid.shape[::-1]) * self.grid.cell - self.grid.boxes[:, 2:]
        for size, stride in self.coarsened(sizes, strides).items():
            on = starts % stride == 0
            if not self.grid.margin:  # patches that stay inside close every row at the edge, on the stride or not
                on |= ends == 0
            wanted |= (sides == size) & on.all(axis=1)
        if inside:
            height, width = self.grid.shape
            wanted &= (cells[:, :2] >= 0).all(axis=1) & (cells[:, 2] <= width) & (cells[:, 3] <= height)
        return wanted

    def coarsened(self, sizes: tuple[int, ...] = (), strides: tuple[int, ...] = ()) -> dict[int, int]:
        """Size to stride of a choice of sizes and strides; raises as :meth:`chosen` does."""
        sizes = sizes or tuple(self.strides)
        if missing := sorted(set(sizes) - set(self.strides)):
            raise InputError(f"patches of {missing[0]} px were not embedded; there are {sorted(self.strides)}")
        wanted = dict(zip(sizes, strides or map(self.strides.__getitem__, sizes), strict=True))
        for size, stride in wanted.items():
            if stride % self.strides[size]:
                raise InputError(f"patches of {size} px lie every {self.strides[size]} px, not every {stride}")
        return wanted

    def subgrid(
        self, chosen: npt.NDArray[np.bool_], scale_weights: str = "area", strides: Mapping[int, int] | None = None
    ) -> patches.PatchGrid:
        """The grid of some patches, weighted anew (``scale_weights`` as in ``explain``).

        Parameters
        ----------
        chosen : (n,) bool
        scale_weights : {"area", "equal"}
        strides : mapping of int to int, optional
            At which stride the patches of each size were chosen, by default all of them.

        Raises
        ------
        Uncovered
            If they do not cover the image.
        """
        grid, steps = self.grid, dict(strides or self.strides)
        sides = (grid.boxes[:, 2] - grid.boxes[:, 0])[chosen]
        present = {size: steps[size] for size in np.unique(sides).tolist()}
        largest, coarsest = max(present, default=1), max(present.values(), default=1)
        weight = {s: patches.scale_weight(s, step, largest, coarsest, scale_weights) for s, step in present.items()}
        weights = np.array([weight[side] for side in sides.tolist()], np.float64)
        part = patches.PatchGrid(grid.shape, grid.cell, grid.margin, grid.boxes[chosen], grid.cells[chosen], weights)
        if not _covers(part):
            told = f"patches of {', '.join(map(str, present))} px" if present else "the few patches that lie inside"
            raise Uncovered(f"{told} do not cover the whole image; choose smaller ones")
        return part


def _covers(grid: patches.PatchGrid) -> bool:
    seen = np.zeros(grid.shape, bool)
    for x0, y0, x1, y1 in np.maximum(grid.cells, 0):
        seen[y0:y1, x0:x1] = True
    return bool(seen.all())


class PatchStore:
    """Embeds the patches of images, and keeps them in a directory if one is given.

    There is one file per image and patch size, named by a digest of the pixels, the encoder and everything that decides
    what the patches show: another image, model or grid never finds it. Files are plain ``.npy``, written whole or not
    at all, so that a run that was stopped goes on where it was.

    Parameters
    ----------
    engine : Engine
    options : Options
        ``fit, border, sizes, stride, seed`` decide which patches there are.
    directory : path, optional
        Created if it does not exist. None keeps nothing.
    strides : iterable of int, optional
        One stride per size, instead of that of the options.
    short_side : int
        Of the working image in pixels; 0 leaves the image as large as it is.
    """

    def __init__(
        self,
        engine: Engine,
        options: Options,
        directory: str | os.PathLike[str] | None = None,
        strides: Iterable[int] | None = None,
        short_side: int = patches.WORKING_SIZE,
    ) -> None:
        strides = [options.stride] * len(options.sizes) if strides is None else list(strides)
        if len(strides) != len(options.sizes) or (np.less(strides, 1) | np.greater(strides, options.sizes)).any():
            raise InputError(f"one stride per patch size is needed, none above its size: {options.sizes}, {strides}")
        if short_side and not 16 <= short_side <= 4096:
            raise InputError(f"the short side must be 0 or from 16 to 4096 px, got {short_side}")
        self.engine, self.options, self.short_side = engine, options, short_side
        self.strides = dict(zip(options.sizes, strides, strict=True))
        self._directory = Path(directory) if directory is not None else None
        manifest = engine.bundle.manifest
        chosen = (options.fit, options.border, options.seed)
        self._key = f"{manifest.files[manifest.image_encoder][0]} {manifest.preprocess} {chosen}"

    def describe(self) -> str:
        """What is embedded, in one line."""
        told = self.options.describe()
        if any(stride != self.options.stride for stride in self.strides.values()):
            told += f", strides {'+'.join(map(str, self.strides.values()))}"
        if self.short_side != patches.WORKING_SIZE:
            told += f", short side {self.short_side or 'as it is'}"
        return told

    def embed(self, image: npt.NDArray[np.uint8]) -> PatchEmbeddings:
        """The patches of a decoded image, (H, W, 3) uint8, and their embeddings."""
        options, inside = self.options, self.options.border == "inside"
        sizes, strides = tuple(self.strides), tuple(self.strides.values())
        height, width = image.shape[:2]
        cell = patches.cell_size(sizes, strides)
        size = patches.working_size(height, width, options.fit, cell, self.short_side or min(height, width))
        grid = patches.patch_grid(*size, sizes, strides, inside, options.scale_weights)
        region = patches.visible_region(height, width, options.fit)
        sides = grid.boxes[:, 2] - grid.boxes[:, 0]
        rows = np.empty((len(grid), self.engine.bundle.manifest.embedding_dim), np.float32)
        bordered: Any = None
        for side, stride in self.strides.items():
            chosen = sides == side
            path = self._path(image, f"{size} {grid.margin} {side} {stride}")
            kept = _read(path, (int(chosen.sum()), rows.shape[1]))
            if kept is None:
                with self.engine.place:
                    bordered = self._bordered(image, region, size, grid.margin) if bordered is None else bordered
                    kept = self._encode(bordered, grid.boxes[chosen])
                if path is not None:
                    _write_whole(path, kept)
            rows[chosen] = kept
        return PatchEmbeddings(grid, rows, region, self.strides)

    def _bordered(
        self, image: npt.NDArray[np.uint8], region: tuple[int, int, int, int], size: tuple[int, int], margin: int
    ) -> Any:
        """The working image with its border, on the device of the engine."""
        kernels, mean = self.engine.kernels, self.engine.bundle.manifest.preprocess.mean
        working = kernels.resize_image(kernels.upload(image), region, size)
        if not margin:
            return working
        return patches.add_border(working, margin, self.options.border, self.options.seed, mean, kernels)

    def _encode(self, bordered: Any, boxes: npt.NDArray[np.int32]) -> FloatArray:
        engine = self.engine
        config, kernels = engine.bundle.manifest.preprocess, engine.kernels
        rows = embed_patches(bordered, boxes, engine.image_encoder, config, kernels, engine.num_threads, {})
        found: FloatArray = kernels.to_host(rows)
        return found

    def _path(self, image: npt.NDArray[np.uint8], patch: str) -> Path | None:
        if self._directory is None:
            return None
        digest = hashlib.sha256(f"{self._key} {patch} {image.shape}".encode())
        digest.update(image.tobytes())
        return self._directory / f"{digest.hexdigest()[:40]}.npy"


def _read(path: Path | None, shape: tuple[int, int]) -> FloatArray | None:
    """Rows that were kept before; None where there are none of this shape."""
    if path is None or not path.is_file():
        return None
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.shape == shape and rows.dtype == np.float32 else None


def _write_whole(path: Path, rows: FloatArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as stream:
        np.save(stream, rows, allow_pickle=False)
    os.replace(stream.name, path)
