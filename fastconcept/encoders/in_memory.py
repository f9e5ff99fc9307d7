"""Models that live in this process as encoders: any callable. Torch modules have a room of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .returned import check_directions, check_shape
from .torch_module import TorchImageEncoder

FloatArray = npt.NDArray[np.float32]
BATCH_SIZE = 32


class CallableImageEncoder:
    """Preprocessed pixels (n, 3, h, w) float32 through a callable, as unit rows.

    Parameters
    ----------
    model : callable
        From pixels to (n, d) embeddings.
    batch_size : int
        Images at once.

    Examples
    --------
    >>> encoder = CallableImageEncoder(lambda pixels: pixels.mean(axis=(2, 3)))
    >>> encoder.encode(np.ones((2, 3, 4, 4), np.float32)).round(3).tolist()[0]
    [0.5770000219345093, 0.5770000219345093, 0.5770000219345093]
    """

    def __init__(self, model: Callable[[Any], Any], batch_size: int = BATCH_SIZE) -> None:
        self._model, self.batch_size = model, batch_size

    def encode(self, pixels: Any, batch_size: int | None = None) -> Any:
        """(n, 3, h, w) float32 to (n, d) float32 unit rows, on the device where the pixels are."""
        step = batch_size or self.batch_size
        parts = [self._rows(pixels[start : start + step]) for start in range(0, len(pixels), step)]
        if not parts:
            raise InputError("there are no pixels to encode")
        return np.concatenate(parts)

    def _rows(self, pixels: Any) -> Any:
        return unit_rows(self._model(pixels), len(pixels))


class CallableTextEncoder:
    """Texts through a callable, as unit rows.

    Parameters
    ----------
    model : callable
        From a list of n str to (n, d) embeddings: a NumPy array or a torch tensor.

    Examples
    --------
    >>> CallableTextEncoder(lambda texts: np.ones((len(texts), 4))).encode(["a", "b"]).tolist()[0]
    [0.5, 0.5, 0.5, 0.5]
    """

    def __init__(self, model: Callable[[list[str]], Any]) -> None:
        self._model = model

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """n texts to (n, d) float32 unit rows."""
        rows = self._model(list(texts))
        if hasattr(rows, "detach"):
            rows = rows.detach().float().cpu().numpy()
        result: FloatArray = unit_rows(rows, len(texts))
        return result


def unit_rows(rows: Any, count: int) -> Any:
    """What a model returned, as C-contiguous float32 unit rows.

    Raises
    ------
    InputError
        If these are not ``count`` finite rows of which none is zero.
    """
    rows = rows if hasattr(rows, "__array_interface__") or hasattr(rows, "__cuda_array_interface__") else np.array(rows)
    check_shape(tuple(rows.shape), count)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    check_directions(bool((np.isfinite(lengths) & (lengths > 0)).all()))
    return np.ascontiguousarray((rows / lengths).astype(np.float32))


def as_image_encoder(model: Any) -> Any:
    """An image encoder as it is, or a torch module or another callable wrapped as one."""
    if hasattr(model, "encode"):
        return model
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return TorchImageEncoder(model)
    return CallableImageEncoder(model)


def as_text_encoder(model: Any) -> Any:
    """A text encoder as it is, or a callable wrapped as one."""
    return model if hasattr(model, "encode") else CallableTextEncoder(model)
