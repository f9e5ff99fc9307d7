"""The embeddings of an image's patches: made once, then read for any number of concepts, scores and patch sizes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..engine import Engine
from ..errors import InputError
from ..saliency import patches
from ..saliency.explain import Options, embed_patches

FloatArray = npt.NDArray[np.float32]


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
    """

    grid: patches.PatchGrid
    rows: FloatArray
    region: tuple[int, int, int, int]

    def chosen(self, sizes: tuple[int, ...] = (), inside: bool = False) -> npt.NDArray[np.bool_]:
        """Which patches are of some sizes.

        Parameters
        ----------
        sizes : tuple of int
            Sides in pixels, all of them among the sizes that were embedded; () means all.
        inside : bool
            Leave out the patches that hang over the edge of the image.

        Returns
        -------
        (n,) bool

        Raises
        ------
        InputError
            If a size was not embedded.
        """
        sides, cells = self.grid.boxes[:, 2] - self.grid.boxes[:, 0], self.grid.cells
        missing = sorted(set(sizes) - set(sides.tolist()))
        if missing:
            raise InputError(f"patches of {missing[0]} px were not embedded; there are {sorted(set(sides.tolist()))}")
        wanted = np.isin(sides, sizes) if sizes else np.ones(len(sides), bool)
        if inside:
            height, width = self.grid.shape
            wanted &= (cells[:, :2] >= 0).all(axis=1) & (cells[:, 2] <= width) & (cells[:, 3] <= height)
        return wanted

    def subgrid(self, chosen: npt.NDArray[np.bool_], scale_weights: str = "area") -> patches.PatchGrid:
        """The grid of some patches, weighted anew (``scale_weights`` as in ``explain``).

        Raises
        ------
        InputError
            If they do not cover the image.
        """
        grid = self.grid
        sides = (grid.boxes[:, 2] - grid.boxes[:, 0])[chosen]
        weights = np.ones(len(sides)) if scale_weights == "area" else (sides.max(initial=1) / sides) ** 2.0
        part = patches.PatchGrid(grid.shape, grid.cell, grid.margin, grid.boxes[chosen], grid.cells[chosen], weights)
        if not _covers(part):
            raise InputError(f"patches of {sorted(set(sides.tolist()))} px do not cover the whole image")
        return part


def _covers(grid: patches.PatchGrid) -> bool:
    seen = np.zeros(grid.shape, bool)
    for x0, y0, x1, y1 in np.maximum(grid.cells, 0):
        seen[y0:y1, x0:x1] = True
    return bool(seen.all())


class PatchStore:
    """Embeds the patches of images, and keeps them in a directory if one is given.

    A file is named by a digest of the pixels, the encoder and the options: another image, model or grid never finds
    it. Files are plain ``.npy``, written whole or not at all.

    Parameters
    ----------
    engine : Engine
    options : Options
        ``fit, border, sizes, stride, seed`` decide which patches there are.
    directory : path, optional
        Created if it does not exist. None keeps nothing.
    encoder : str, optional
        Names the encoder in the digest; by default the checksum of the bundle's.
    """

    def __init__(
        self,
        engine: Engine,
        options: Options,
        directory: str | os.PathLike[str] | None = None,
        encoder: str | None = None,
    ) -> None:
        self.engine, self.options = engine, options
        self._directory = Path(directory) if directory is not None else None
        manifest = engine.bundle.manifest
        encoder = encoder or manifest.files[manifest.image_encoder][0]
        chosen = (options.fit, options.border, options.sizes, options.stride, options.seed)
        self._key = f"{encoder} {manifest.preprocess} {chosen}".encode()

    def embed(self, image: npt.NDArray[np.uint8]) -> PatchEmbeddings:
        """The patches of a decoded image, (H, W, 3) uint8, and their embeddings."""
        options, inside = self.options, self.options.border == "inside"
        cell = patches.cell_size(options.sizes, options.stride)
        size = patches.working_size(image.shape[0], image.shape[1], options.fit, cell)
        grid = patches.patch_grid(*size, options.sizes, options.stride, inside, options.scale_weights)
        region = patches.visible_region(image.shape[0], image.shape[1], options.fit)
        path = self._path(image)
        if path is not None and path.is_file():
            rows = np.load(path, allow_pickle=False)
            if rows.shape == (len(grid), self.engine.bundle.manifest.embedding_dim):
                return PatchEmbeddings(grid, rows, region)
        bordered = patches.working_image(image, region, size)
        config = self.engine.bundle.manifest.preprocess
        if not inside:
            bordered = patches.add_border(bordered, grid.margin, options.border, options.seed, config.mean)
        kernels = self.engine.kernels
        encoder, threads = self.engine.image_encoder, self.engine.num_threads
        rows = embed_patches(bordered, grid.boxes, encoder, config, kernels, threads, {})
        if path is not None:
            _write_whole(path, rows)
        return PatchEmbeddings(grid, rows, region)

    def _path(self, image: npt.NDArray[np.uint8]) -> Path | None:
        if self._directory is None:
            return None
        digest = hashlib.sha256(self._key)
        digest.update(f"{image.shape}".encode())
        digest.update(image.tobytes())
        return self._directory / f"{digest.hexdigest()[:40]}.npy"


def _write_whole(path: Path, rows: FloatArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as stream:
        np.save(stream, rows, allow_pickle=False)
    os.replace(stream.name, path)
