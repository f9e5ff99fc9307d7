"""Torch modules as encoders. On a GPU they work on the kernels' stream, and rows stay on the device."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import Any

import numpy as np

from ..errors import InputError
from ..kernels.cuda.device import require, stream
from ..kernels.host import is_host
from .returned import check_directions, check_shape

BATCH_SIZE = 32
DTYPES = ("float32", "bfloat16", "float16")
KEPT_GRAPHS = 8  # sizes of batches, the last used


class TorchImageEncoder:
    """Preprocessed pixels (n, 3, h, w) float32 through a torch module, as unit rows.

    For ``Engine.from_parts(image_encoder=...)``, or, with a `stride`, ``dense_encoder=...``. A module given there as it
    is becomes one of these with the defaults.

    Parameters
    ----------
    module : torch.nn.Module
        From pixels to embeddings (n, d); with a `stride` to (n, 1 + h w, d), the picture's own first and those of its
        tokens in reading order. It is called without gradients, in the mode it is in: call ``.eval()`` on it first.
    dtype : {"float32", "bfloat16", "float16"}, optional
        What the module is converted to, in place, and its pixels with it; None leaves both as they are.
    compile : bool
        Through ``torch.compile``: half a minute at the first batch of a size, faster from then on.
    cuda_graphs : bool
        On a GPU, record the module once for each size of a batch and replay it: a small batch then takes the time of
        its arithmetic, not that of starting hundreds of kernels. The module must do the same for all pixels of a size.
    batch_size : int
        Images at once.
    stride : int
        Pixels per token of a dense encoder.

    Raises
    ------
    InputError
        If the type has another name.

    Examples
    --------
    >>> import torch
    >>> encoder = TorchImageEncoder(torch.nn.Flatten().eval())
    >>> encoder.encode(np.ones((2, 3, 1, 1), np.float32)).round(3).tolist()[0]
    [0.5770000219345093, 0.5770000219345093, 0.5770000219345093]
    """

    def __init__(
        self,
        module: Any,
        *,
        dtype: str | None = None,
        compile: bool = False,
        cuda_graphs: bool = False,
        batch_size: int = BATCH_SIZE,
        stride: int = 0,
    ) -> None:
        import torch

        if dtype is not None and dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        self._type = None if dtype is None else getattr(torch, dtype)
        self._module = module if dtype is None else module.to(self._type)
        self._run = torch.compile(self._module) if compile else self._module
        if cuda_graphs:
            self._run = _Graphs(self._run)
        self.batch_size, self.stride = batch_size, stride

    def encode(self, pixels: Any, batch_size: int | None = None) -> Any:
        """(n, 3, h, w) float32 to float32 unit rows (n, d), of tokens (n, 1 + h w, d); on the device of the pixels.

        Raises
        ------
        InputError
            If there are no pixels, or the module returns something else, rows that are not finite or zero.
        """
        step = batch_size or self.batch_size
        parts = [self._rows(pixels[start : start + step]) for start in range(0, len(pixels), step)]
        if not parts:
            raise InputError("there are no pixels to encode")
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _rows(self, pixels: Any) -> Any:
        import torch

        parameter = next(self._module.parameters(), None)
        device = parameter.device if parameter is not None else None
        with _same_stream(pixels), torch.inference_mode():
            # Not as_tensor: only DLPack makes torch wait for the stream that the pixels are written on.
            tensor = torch.as_tensor(pixels) if is_host(pixels) else torch.from_dlpack(pixels)
            rows = self._run(tensor.to(device or tensor.device, self._type))
            rows = self._unit(rows, len(pixels), is_host(pixels))
            if is_host(pixels):
                return rows.cpu().numpy()
            return require().from_dlpack(rows)

    def _unit(self, rows: Any, count: int, on_host: bool) -> Any:
        import torch

        shape = tuple(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
        check_shape(shape, count, tokens=self.stride > 0)
        rows = rows.double()
        lengths = torch.linalg.norm(rows, dim=-1, keepdim=True)
        if on_host:
            check_directions(bool((torch.isfinite(lengths) & (lengths > 0)).all()))
        return (rows / lengths).float().contiguous()  # of the device: NaN, which what reads the rows refuses


class _Graphs:
    """A module recorded for the sizes of its batches; one replay at a time, as their results share memory."""

    def __init__(self, module: Any) -> None:
        self._module, self._lock = module, threading.Lock()
        self._recorded: dict[tuple[int, ...], tuple[Any, Any, Any]] = {}

    def __call__(self, pixels: Any) -> Any:
        if not pixels.is_cuda:
            return self._module(pixels)
        with self._lock:
            key = tuple(pixels.shape)
            if key not in self._recorded:
                self._recorded[key] = self._record(pixels)
            graph, given, rows = self._recorded[key] = self._recorded.pop(key)  # the last used comes last
            while len(self._recorded) > KEPT_GRAPHS:
                del self._recorded[next(iter(self._recorded))]
            given.copy_(pixels)
            graph.replay()
            return rows.clone()

    def _record(self, pixels: Any) -> tuple[Any, Any, Any]:
        import torch

        given, here, beside = pixels.clone(), torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            for _ in range(3):  # what is chosen or allocated at first calls is not to be recorded
                self._module(given)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=beside, capture_error_mode="thread_local"):
                rows = self._module(given)
        here.wait_stream(beside)
        return graph, given, rows


def _same_stream(pixels: Any) -> contextlib.AbstractContextManager[Any]:
    """Torch on the stream where device arrays are written and read; nothing for arrays of the host."""
    if is_host(pixels):
        return contextlib.nullcontext()
    import torch

    context: contextlib.AbstractContextManager[Any] = torch.cuda.stream(_queue(stream()))
    return context


@functools.lru_cache(maxsize=16)
def _queue(address: int) -> Any:
    import torch

    # Torch's own name for the default stream is address 0, which it does not take from outside.
    return torch.cuda.ExternalStream(address) if address else torch.cuda.default_stream()
