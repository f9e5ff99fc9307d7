"""An image encoder that runs a TensorRT plan; ``fastconcept export --tensorrt`` builds them.

A plan has one optimisation profile per batch size ("bucket"), each of a fixed shape. Every bucket gets its own
execution context, buffers and CUDA graph when the encoder is made; a request only copies in, replays and copies out.

Not yet run on hardware. Every name of the TensorRT API used here is checked against the bindings of 10.16 and 11.4.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import BundleError, DeviceError, InputError, MissingDependencyError
from ...kernels.host import is_host
from .plans import check_built_for, import_tensorrt, read_plan

_MAX_BUCKETS = 16


def split_batches(count: int, buckets: Sequence[int]) -> list[tuple[int, int]]:
    """Split ``count`` images over fixed batch sizes: (images, bucket) per run, images <= bucket.

    The largest bucket while it is full; the rest goes into the smallest bucket that holds it.

    Examples
    --------
    >>> split_batches(730, [1, 64, 256])
    [(256, 256), (256, 256), (218, 256)]
    >>> split_batches(65, [1, 64])
    [(64, 64), (1, 1)]
    """
    sizes = sorted(buckets)
    full = [(sizes[-1], sizes[-1])] * (count // sizes[-1])
    rest = count % sizes[-1]
    return [*full, (rest, next(size for size in sizes if size >= rest))] if rest else full


class _Bucket(NamedTuple):
    """What one batch size owns on the device."""

    pixels: Any
    rows: Any
    context: Any
    graph: Any


class TensorRTEncoder:
    """Preprocessed images to unit rows through a TensorRT plan.

    Parameters
    ----------
    path : str or Path
        A plan built on this kind of device by this version of TensorRT.
    dim : int, optional
        Width of its rows, to be checked.
    device_index : int
        Number of the CUDA device.

    Raises
    ------
    DeviceError
        If the plan was built for another device or version, or the device refuses it.
    BundleError
        If the file is damaged or no image encoder.
    MissingDependencyError
        If TensorRT or CuPy is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], dim: int | None = None, device_index: int = 0) -> None:
        plan, facts = read_plan(path)
        trt = import_tensorrt()
        try:
            import cupy
        except ImportError:
            raise MissingDependencyError("cupy", "gpu") from None
        self._path, self._cupy, self._device = os.fspath(path), cupy, cupy.cuda.Device(device_index)
        check_built_for(facts, self._path, trt.__version__, self._device.compute_capability)
        with self._device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._logger = trt.Logger(trt.Logger.WARNING)
            self._runtime = trt.Runtime(self._logger)
            self._plan = self._runtime.deserialize_cuda_engine(plan)
            if self._plan is None:
                raise DeviceError(f"TensorRT {trt.__version__} refuses the plan {self._path}; build it again")
            self._input, self._output = self._tensor_names(trt)
            self._kinds = {
                trt.DataType.FLOAT: np.float32,
                trt.DataType.HALF: np.float16,
            }
            self._buckets = self._make_buckets()
        self._lock = threading.Lock()  # a bucket's buffers serve one request at a time
        shapes = [bucket.pixels.shape for bucket in self._buckets.values()]
        self.size: tuple[int, int] = (int(shapes[0][2]), int(shapes[0][3]))
        self.dim = int(next(iter(self._buckets.values())).rows.shape[1])
        self.batch_size = max(self._buckets)
        if dim is not None and dim != self.dim:
            raise BundleError(f"{self._path} returns rows of {self.dim}, the manifest says {dim}; build it again")

    @property
    def providers(self) -> list[str]:
        """What runs the encoder."""
        return ["TensorRT"]

    def _tensor_names(self, trt: Any) -> tuple[str, str]:
        loaded = self._plan
        names = [loaded.get_tensor_name(i) for i in range(loaded.num_io_tensors)]
        inputs = [name for name in names if loaded.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if loaded.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        if len(inputs) != 1 or len(outputs) != 1:
            raise BundleError(f"{self._path} is not an encoder of one input and one output; build it again")
        return inputs[0], outputs[0]

    def _make_buckets(self) -> dict[int, _Bucket]:
        profiles = int(self._plan.num_optimization_profiles)
        if not 1 <= profiles <= _MAX_BUCKETS:
            raise BundleError(f"{self._path} has {profiles} profiles, expected 1 to {_MAX_BUCKETS}; build it again")
        buckets = {}
        for profile in range(profiles):
            shape = tuple(self._plan.get_tensor_profile_shape(self._input, profile)[2])
            if len(shape) != 4 or shape[1] != 3:
                raise BundleError(f"{self._path} takes {shape}, expected (n, 3, h, w); build it again")
            buckets[int(shape[0])] = self._make_bucket(profile, shape)
        return buckets

    def _make_bucket(self, profile: int, shape: tuple[int, ...]) -> _Bucket:
        """Context, buffers and graph of one batch size; everything that may allocate happens here."""
        cupy, stream = self._cupy, self._stream
        context = self._plan.create_execution_context()
        if context is None or not context.set_optimization_profile_async(profile, stream.ptr):
            raise DeviceError(f"{self._path}: no room on the device for batches of {shape[0]}")
        if context.set_input_shape(self._input, shape) is False:
            raise BundleError(f"{self._path} does not take {shape}; build it again")
        rows_shape = tuple(context.get_tensor_shape(self._output))
        pixels = cupy.zeros(shape, self._kind(self._input))
        rows = cupy.zeros(rows_shape, self._kind(self._output))
        for name, array in ((self._input, pixels), (self._output, rows)):
            if context.set_tensor_address(name, array.data.ptr) is False:
                raise DeviceError(f"{self._path}: TensorRT refuses the buffer of {name}")
        cupy.cuda.get_current_stream().synchronize()  # the zeros were written on another stream
        with stream:
            self._enqueue(context)  # once outside the graph: the first run may still allocate
            stream.synchronize()
            stream.begin_capture()
            try:
                self._enqueue(context)
            finally:
                graph = stream.end_capture()
        return _Bucket(pixels, rows, context, graph)

    def _kind(self, tensor: str) -> npt.DTypeLike:
        kind = self._plan.get_tensor_dtype(tensor)
        if kind not in self._kinds:
            raise BundleError(f"{self._path}: {tensor} is {kind}, expected float32 or float16; build it again")
        return self._kinds[kind]

    def _enqueue(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream.ptr):
            raise DeviceError(f"{self._path} failed to run")

    def encode(self, pixels: Any, batch_size: int | None = None, out: Any = None) -> Any:
        """Encode images in the buckets of the plan.

        Parameters
        ----------
        pixels : (n, 3, h, w) float32 or float16
            On the host or the device, n may be 0.
        batch_size : int, optional
            Accepted for the interface; the buckets decide.
        out : (n, dim) float32, optional
            Where to write; on the host or the device.

        Returns
        -------
        (n, dim) float32
            Unit rows, where ``pixels`` is; ``out`` if given.

        Raises
        ------
        InputError
            If shape or dtype is another, or (on the host) a result is not finite.
        """
        cupy, stream = self._cupy, self._stream
        expected = (3, *self.size)
        dtype = getattr(pixels, "dtype", None)
        if len(getattr(pixels, "shape", ())) != 4 or tuple(pixels.shape[1:]) != expected:
            given = getattr(pixels, "shape", type(pixels).__name__)
            raise InputError(f"pixels must be (n, {', '.join(map(str, expected))}), got {given}")
        if dtype not in (np.float32, np.float16):
            raise InputError(f"pixels must be float32 or float16, got {dtype}")
        if out is not None and (tuple(out.shape) != (len(pixels), self.dim) or out.dtype != np.float32):
            raise InputError(f"out must be float32 {(len(pixels), self.dim)}, got {out.dtype} {out.shape}")
        with self._device, self._lock:
            rows = out if out is not None and not is_host(out) else cupy.empty((len(pixels), self.dim), np.float32)
            caller = cupy.cuda.get_current_stream()
            stream.wait_event(caller.record())
            with stream:
                start = 0
                for count, size in split_batches(len(pixels), list(self._buckets)):
                    bucket = self._buckets[size]
                    bucket.pixels[:count] = cupy.asarray(pixels[start : start + count])
                    bucket.graph.launch(stream)
                    rows[start : start + count] = bucket.rows[:count]
                    start += count
                done = stream.record()
            caller.wait_event(done)
            if not is_host(pixels if out is None else out):
                return rows
            result: npt.NDArray[np.float32] = cupy.asnumpy(rows)
        if not np.isfinite(result).all():
            raise InputError(f"{self._path} returned values that are not finite; is the input finite?")
        if out is None:
            return result
        out[...] = result
        return out
