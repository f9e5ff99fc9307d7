"""A dense pass as an ONNX file, tried out before and after it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...encoders.opening import open_dense_onnx
from ...errors import ExportError, FastconceptError
from ..compact import compact as compact_encoder
from ..onnx import write_module

if TYPE_CHECKING:
    from ..model import Model

LARGEST_DIFFERENCE = 1e-5  # between a row of the whole picture and the tower's own
LEAST_COSINE = 0.9999  # of rows as written and rows in torch, on noise; weights may be stored in 16 bits


def write_dense(model: Model, name: str, path: Path, compact: bool = False, num_threads: int | None = None) -> None:
    """Write one dense pass of a model for pictures of any size that is a multiple of its stride.

    Parameters
    ----------
    model : Model
        With :attr:`~..model.Model.dense`.
    name : str
        A change that it has.
    path : Path
    compact : bool
        Store weights in 16 bits.
    num_threads : int, optional
        Of ONNX Runtime, for the comparison.

    Raises
    ------
    ExportError
        If the pass, as taken apart or as written, does not agree with the tower, or ONNX cannot express it.
    """
    import torch

    assert model.dense is not None
    stride, module = model.dense.stride, model.dense.modules[name]()
    height, width = model.preprocess.size
    generator = torch.Generator().manual_seed(0)
    native = torch.randn(2, 3, height, width, generator=generator)
    wide = torch.randn(1, 3, height + stride, width + 2 * stride, generator=generator)
    try:
        with torch.inference_mode():
            expected = [module(pixels).numpy() for pixels in (native, wide)]
            difference = float(np.abs(expected[0][:, 0] - model.image(native).numpy()).max())
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ExportError(f"its tower is laid out in another way ({error})") from None
    if not difference <= LARGEST_DIFFERENCE:
        raise ExportError(f"the tower taken apart is not the tower: rows of pictures differ by {difference:.2g}")
    write_module(module, wide.repeat(2, 1, 1, 1), path, "pixels", {0: "batch", 2: "height", 3: "width"})
    if compact:
        compact_encoder(path)
    try:
        written = open_dense_onnx(path, model.embedding_dim, stride, num_threads=num_threads)
        rows = [written.encode(pixels.numpy()) for pixels in (native, wide)]
    except FastconceptError as error:
        raise ExportError(f"the pass as written does not run: {error}") from None
    cosine = min(_least_cosine(ours, theirs) for ours, theirs in zip(rows, expected, strict=True))
    if not cosine >= LEAST_COSINE:
        raise ExportError(f"the pass as written differs from the tower (cosine {cosine:.6f})")


def _least_cosine(one: Any, two: Any) -> float:
    return float((one * two).sum(axis=-1).min())
