"""The mean image embedding of a model, which SpLiCE subtracts before it decomposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle import Preprocess
from ..datasets.images import find_images
from ..encoders.onnx import ImageEncoder
from ..engine import Engine
from ..errors import ExportError, InputError

_MAX_MEAN_BYTES = 64 << 20


@dataclass(frozen=True)
class ImageMean:
    """A mean image embedding and where it comes from."""

    mean: npt.NDArray[np.float32]  # (d,), the mean of unit rows; its norm is below 1
    images: int  # how many were averaged; 0 where it was read from a file
    skipped: int  # how many could not be read


def sample_images(directory: Path, limit: int | None = None, seed: int = 0) -> list[Path]:
    """Image files below a directory, by their suffix, in the order of their names.

    Parameters
    ----------
    directory : Path
        Directory that is searched recursively.
    limit : int, optional
        Size of a sample to take instead of all; the sample is the same for the same ``seed``.

    Raises
    ------
    ExportError
        If it is not a directory or holds no image.
    """
    if not directory.is_dir():
        raise ExportError(f"{directory} is not a directory of images")
    try:
        files = find_images(directory, recursive=True)
    except InputError as error:
        raise ExportError(str(error)) from None
    if limit is not None and limit < len(files):
        chosen = np.random.default_rng(seed).choice(len(files), max(1, limit), replace=False)
        files = [files[index] for index in np.sort(chosen)]
    return files


def compute_image_mean(
    encoder: ImageEncoder,
    preprocess: Preprocess,
    files: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
) -> ImageMean:
    """Average the unit embeddings of image files.

    Parameters
    ----------
    encoder : ImageEncoder
    preprocess : Preprocess
        The model's preprocessing of whole images.
    files : sequence of Path
        Image files; those that cannot be read are counted and left out.
    progress : callable, optional
        Called as ``progress(done, total)``.

    Raises
    ------
    ExportError
        If not one of the files can be read.
    """
    engine = Engine.from_parts(embedding_dim=encoder.dim, preprocess=preprocess, image_encoder=encoder)
    report = progress or (lambda done, total: None)
    total, count = np.zeros(encoder.dim, np.float64), 0
    for rows, positions in engine.encode_batches(files, on_error=lambda position, error: None):
        total += rows.sum(axis=0, dtype=np.float64)
        count += len(rows)
        report(positions[-1] + 1, len(files))
    report(len(files), len(files))
    if not count:
        raise ExportError(f"none of the {len(files)} image files can be read, the first is {files[0]}")
    return ImageMean((total / count).astype(np.float32), count, len(files) - count)


def read_image_mean(path: Path, dim: int, name: str | None = None) -> ImageMean:
    """Read a mean from a safetensors file.

    Parameters
    ----------
    path : Path
        One tensor, or several of which ``name`` is one.
    dim : int
        Its length, the model's embedding width.
    name : str, optional
        Which tensor; needed only where there are several.

    Raises
    ------
    ExportError
        If the file cannot be read, or the tensor is missing, of another length, not finite, or not the mean of
        unit rows (its norm is above 1).
    """
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > _MAX_MEAN_BYTES:
            raise ExportError(f"{path} is larger than {_MAX_MEAN_BYTES >> 20} MiB; this is not an image mean")
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            chosen = name if name is not None else names[0] if len(names) == 1 else None
            if chosen not in names:
                problem = f"has no tensor {name!r}" if name else "has several tensors; name one"
                raise ExportError(f"{path} {problem}: {', '.join(names)}")
            mean = np.asarray(file.get_tensor(chosen), np.float32)
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise ExportError(f"{path} is not a readable safetensors file: {error}") from None
    if mean.shape != (dim,):
        raise ExportError(f"{path}: {chosen} has the shape {mean.shape}, the model's embeddings have ({dim},)")
    if not np.isfinite(mean).all() or np.linalg.norm(mean.astype(np.float64)) > 1.0001:
        raise ExportError(f"{path}: {chosen} is not a mean of unit rows: its norm is above 1 or not finite")
    return ImageMean(mean, 0, 0)
