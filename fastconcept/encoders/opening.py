"""Opens encoders: of a bundle on a device, or from files that are not a bundle yet. No other module makes one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import Bundle
from ..errors import BundleError, DeviceError, InputError
from . import onnx
from .dense import DenseEncoder
from .split import SplitEncoder
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .providers import Provider
    from .tensorrt.encoder import TensorRTEncoder


def check_encoder(encoder: str, device: str) -> str:
    """Check the choice of what runs the image tower: ``"onnx"``, ``"tensorrt"`` or the file of a TensorRT plan.

    Raises
    ------
    InputError
        If it is something else, or there is no such file.
    DeviceError
        If TensorRT is asked for on a device that is no GPU.

    Examples
    --------
    >>> check_encoder("tensorrt", "cuda:0")
    'tensorrt'
    """
    if encoder not in ("onnx", "tensorrt") and not str(encoder).endswith(".plan"):
        raise InputError(f"encoder must be onnx, tensorrt or the path of a *.plan file, got {encoder!r}")
    if encoder != "onnx" and device == "cpu":
        raise DeviceError(f'TensorRT runs on a GPU: use device="cuda:0" with encoder={encoder!r}, or encoder="onnx"')
    if encoder not in ("onnx", "tensorrt") and not os.path.isfile(encoder):
        from .tensorrt.plans import HOW_TO_BUILD

        raise InputError(f"no plan at {encoder}; build one here: {HOW_TO_BUILD}")
    return str(encoder)


def open_image_encoder(
    bundle: Bundle, device: Any, providers: Sequence[Provider], encoder: str = "onnx", num_threads: int | None = None
) -> Any:
    """The image tower of a bundle.

    Parameters
    ----------
    bundle : Bundle
    device : Device
        The kernels' device, ``fastconcept.kernels.cpu.Device`` or ``.cuda.Device``.
    providers : sequence
        ONNX Runtime's ``providers=[...]``.
    encoder : str
        See :func:`check_encoder`.
    num_threads : int, optional
        Threads on the CPU.

    Raises
    ------
    DeviceError
        If a provider or a fitting TensorRT plan is not there.
    MissingDependencyError
        If ONNX Runtime or TensorRT is not installed.
    BundleError
        If a file is damaged.
    """
    manifest = bundle.manifest
    if encoder != "onnx":
        return open_image_plan(_plan_file(bundle, device, encoder), manifest.embedding_dim, device.index)
    file = bundle.encoder(manifest.image_encoder)
    opened = open_image_onnx(file, manifest.embedding_dim, device, providers, num_threads)
    for size in filter(None, (manifest.preprocess.size, manifest.preprocess.patch_size)):
        if opened.size not in (None, size):
            raise BundleError(f"{file} takes images of {opened.size}, the manifest says {size}; export the model again")
    return opened


def open_text_encoder(
    bundle: Bundle, device: Any, providers: Sequence[Provider], num_threads: int | None = None
) -> Any:
    """The text tower of a bundle with its tokenizer; arguments and errors as for :func:`open_image_encoder`."""
    manifest = bundle.manifest
    tokenizer = Tokenizer(
        bundle.file(manifest.tokenizer),
        manifest.context_length,
        manifest.tokenizer_clean,
        manifest.text_length == "dynamic",
    )
    file = bundle.encoder(manifest.text_encoder)
    return open_text_onnx(file, tokenizer, manifest.embedding_dim, device, providers, num_threads)


def open_image_onnx(
    path: str | os.PathLike[str],
    dim: int,
    device: Any = None,
    providers: Sequence[Provider] | None = None,
    num_threads: int | None = None,
) -> onnx.ImageEncoder:
    """An image tower from an ONNX file.

    Parameters
    ----------
    path : path
        float32 pixels (batch, 3, h, w) to rows (batch, dim).
    dim : int
        Width of its rows.
    device, providers, num_threads
        As for :func:`open_image_encoder`, and so are the errors; by default the CPU.
    """
    return _class("ImageEncoder", device)(path, dim, providers, num_threads)  # type: ignore[no-any-return]


def open_text_onnx(
    path: str | os.PathLike[str],
    tokenizer: Tokenizer,
    dim: int,
    device: Any = None,
    providers: Sequence[Provider] | None = None,
    num_threads: int | None = None,
) -> onnx.TextEncoder:
    """A text tower from an ONNX file, int64 tokens (batch, length) to rows; see :func:`open_image_onnx`."""
    return _class("TextEncoder", device)(path, tokenizer, dim, providers, num_threads)  # type: ignore[no-any-return]


def open_image_plan(path: str | os.PathLike[str], dim: int, device_index: int) -> TensorRTEncoder:
    """An image tower from a TensorRT plan, on the CUDA device of that number."""
    from .tensorrt.encoder import TensorRTEncoder

    return TensorRTEncoder(path, dim, device_index)


def open_split_encoder(
    bundle: Bundle, device: Any, providers: Sequence[Provider], num_threads: int | None = None
) -> SplitEncoder:
    """The image tower of a bundle in two parts; arguments and errors as for :func:`open_image_encoder`."""
    split, dim = bundle.manifest.split, bundle.manifest.embedding_dim
    if split is None:
        raise BundleError(f"{bundle.path} has no trunk and head; its image tower does not pool a feature map")
    trunk, head = bundle.encoder(split.trunk), bundle.encoder(split.head)
    return open_split_onnx(trunk, head, split.channels, split.stride, dim, device, providers, num_threads)


def open_split_onnx(
    trunk: str | os.PathLike[str],
    head: str | os.PathLike[str],
    channels: int,
    stride: int,
    dim: int,
    device: Any = None,
    providers: Sequence[Provider] | None = None,
    num_threads: int | None = None,
) -> SplitEncoder:
    """An image tower in two parts from ONNX files; see :class:`~fastconcept.bundle.Split`, :func:`open_image_onnx`."""
    return SplitEncoder(
        _class("FeatureMaps", device)(trunk, channels, stride, providers, num_threads),
        _class("FeatureHead", device)(head, dim, providers, num_threads),
    )


def open_dense_encoder(
    bundle: Bundle, name: str, device: Any, providers: Sequence[Provider], num_threads: int | None = None
) -> DenseEncoder:
    """A dense tower of a bundle, by the name of its change; other arguments and errors as for the image encoder."""
    dense, dim = bundle.manifest.dense, bundle.manifest.embedding_dim
    if dense is None or name not in dense.towers:
        raise BundleError(f"{bundle.path} has no dense tower {name!r}")
    return open_dense_onnx(bundle.encoder(dense.towers[name]), dim, dense.stride, device, providers, num_threads)


def open_dense_onnx(
    path: str | os.PathLike[str],
    dim: int,
    stride: int,
    device: Any = None,
    providers: Sequence[Provider] | None = None,
    num_threads: int | None = None,
) -> DenseEncoder:
    """A dense tower from an ONNX file; see :class:`~fastconcept.bundle.Dense` and :func:`open_image_onnx`."""
    return _class("TokenRows", device)(path, dim, stride, providers, num_threads)  # type: ignore[no-any-return]


def _class(name: str, device: Any) -> Any:
    """The encoder class for a device, None for the CPU."""
    if device is None or device.name == "cpu":
        return getattr(onnx, name)
    from . import onnx_cuda

    return partial(getattr(onnx_cuda, name), device=device)


def _plan_file(bundle: Bundle, device: Any, encoder: str) -> Path:
    if encoder != "tensorrt":
        return Path(encoder)
    from .tensorrt.plans import find_plan_for, import_tensorrt

    digest = bundle.manifest.image_digest
    return find_plan_for(digest, device.compute_capability, import_tensorrt().__version__)
