"""Encoders that run a bundle's ONNX files with ONNX Runtime on a GPU, from device memory to device memory.

The twin of :mod:`fastconcept.encoders.onnx`. Inputs and outputs are bound (IOBinding) to arrays on the engine's
device, and ONNX Runtime works on the engine's stream (``user_compute_stream``), so that it waits for what was queued
before it, and what comes after waits for it. (At the end of a run ONNX Runtime lets the host wait for that stream.)
Arrays of another stream are waited for. A host array is accepted too: it goes up, and its rows come back.

Not yet run on hardware; tests stand in for the session.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BundleError, DeviceError
from ..kernels.cuda.device import Device, require
from ..kernels.host import is_host, to_host
from . import onnx
from .providers import first_line
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .providers import Provider

IMAGE_BATCH = 256
TEXT_BATCH_TOKENS = 16_384
_PROVIDERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


def bound_providers(providers: Sequence[Provider], device: Device) -> list[tuple[str, dict[str, Any]]]:
    """The providers asked for, on one device and its stream; every other option is passed through unchanged.

    Parameters
    ----------
    providers : sequence
        As ``onnxruntime.InferenceSession`` takes them.
    device : Device

    Raises
    ------
    DeviceError
        If one of them does not run on a GPU, or names another device.
    """
    bound: list[tuple[str, dict[str, Any]]] = []
    for provider in providers:
        name, given = (provider, {}) if isinstance(provider, str) else provider
        options: dict[str, Any] = _checked(name, given, device)
        options |= {"device_id": device.index, "user_compute_stream": str(device.stream)}
        if name == "CUDAExecutionProvider":
            # The last batch of an image has a size of its own; searching exhaustively for each would stall requests.
            options.setdefault("cudnn_conv_algo_search", "HEURISTIC")
        bound.append((name, options))
    return bound


def _checked(name: str, options: Mapping[str, Any], device: Device) -> dict[str, Any]:
    if name not in _PROVIDERS:
        raise DeviceError(
            f"{name} does not run on {device.name}; leave providers out, give one of {', '.join(_PROVIDERS)}, "
            'or use device="cpu"'
        )
    if int(options.get("device_id", device.index)) != device.index:
        raise DeviceError(f"{name} is given device_id {options['device_id']}, but the engine is on {device.name}")
    return dict(options)


class _Bound:
    """Runs a session on arrays of the device. Goes before an encoder of :mod:`fastconcept.encoders.onnx`."""

    _session: Any
    _input: Any
    _output: str
    _path: str
    device: Device
    _lock: threading.Lock

    def _namespace(self, array: object) -> Any:
        if isinstance(array, np.ndarray):
            return np
        xp = require()
        return xp if isinstance(array, xp.ndarray) else None

    def _run(self, batch: Any, target: Any) -> None:
        xp = require()
        with self.device.joined(), self._lock:
            given = xp.asarray(batch).astype(_TYPES[self._input.type], copy=False)
            rows = xp.empty(target.shape, np.float32) if is_host(target) else target
            binding = self._session.io_binding()
            for bind, name, array in (
                (binding.bind_input, self._input.name, given),
                (binding.bind_output, self._output, rows),
            ):
                bind(name, "cuda", self.device.index, array.dtype.type, tuple(array.shape), int(array.data.ptr))
            try:
                self._session.run_with_iobinding(binding)
            except Exception as error:  # onnxruntime's exceptions have no common base but this
                failed = f"{self._path} failed on {batch.dtype} {batch.shape}: {first_line(error)}"
                raise BundleError(failed) from None
            if not is_host(target):
                return  # queued; what reads the rows checks them
            target[:] = to_host(rows)
        onnx.check_rows(self._path, target, batch if is_host(batch) else to_host(batch))


class ImageEncoder(_Bound, onnx.ImageEncoder):
    """Preprocessed images to unit rows, both on the device (or both on the host).

    Parameters
    ----------
    path, dim, num_threads
        As for :class:`fastconcept.encoders.onnx.ImageEncoder`.
    providers : sequence
        Execution providers of the device.
    device : Device
        Where the arrays are, and whose stream is used.

    Raises what :func:`fastconcept.encoders.providers.create_session` and :func:`bound_providers` raise.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dim: int,
        providers: Sequence[Provider],
        num_threads: int | None = None,
        *,
        device: Device,
    ) -> None:
        super().__init__(path, dim, bound_providers(providers, device), num_threads)
        _check_input(self._input, self._path)
        self.device, self._lock = device, threading.Lock()
        self.batch_size = IMAGE_BATCH


class FeatureMaps(_Bound, onnx.FeatureMaps):
    """The trunk of an image tower on the device; parameters as for its twin, and those of :class:`ImageEncoder`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        channels: int,
        stride: int,
        providers: Sequence[Provider],
        num_threads: int | None = None,
        *,
        device: Device,
    ) -> None:
        super().__init__(path, channels, stride, bound_providers(providers, device), num_threads)
        _check_input(self._input, self._path)
        self.device, self._lock = device, threading.Lock()


class FeatureHead(_Bound, onnx.FeatureHead):
    """The head of an image tower on the device; parameters as for its twin, and those of :class:`ImageEncoder`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        dim: int,
        providers: Sequence[Provider],
        num_threads: int | None = None,
        *,
        device: Device,
    ) -> None:
        super().__init__(path, dim, bound_providers(providers, device), num_threads)
        _check_input(self._input, self._path)
        self.device, self._lock = device, threading.Lock()


class TokenRows(_Bound, onnx.TokenRows):
    """A dense tower on the device; parameters as for its twin, and those of :class:`ImageEncoder`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        dim: int,
        stride: int,
        providers: Sequence[Provider],
        num_threads: int | None = None,
        *,
        device: Device,
    ) -> None:
        super().__init__(path, dim, stride, bound_providers(providers, device), num_threads)
        _check_input(self._input, self._path)
        self.device, self._lock = device, threading.Lock()


class TextEncoder(_Bound, onnx.TextEncoder):
    """Strings to unit rows on the device.

    Parameters
    ----------
    path, tokenizer, dim, num_threads
        As for :class:`fastconcept.encoders.onnx.TextEncoder`.
    providers, device
        As for :class:`ImageEncoder`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tokenizer: Tokenizer,
        dim: int,
        providers: Sequence[Provider],
        num_threads: int | None = None,
        *,
        device: Device,
    ) -> None:
        super().__init__(path, tokenizer, dim, bound_providers(providers, device), num_threads)
        _check_input(self._input, self._path)
        self.device, self._lock = device, threading.Lock()
        self.batch_tokens = TEXT_BATCH_TOKENS

    def _empty(self, count: int) -> Any:
        xp = require()
        with self.device:
            return xp.empty((count, self.dim), np.float32)


def _check_input(given: Any, path: str) -> None:
    if given.type not in _TYPES:
        raise BundleError(f"{path} takes {given.type}, expected float32, float16 or int64; export the model again")
