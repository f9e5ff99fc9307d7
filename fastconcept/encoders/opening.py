"""Which encoder a bundle gets on a device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import Bundle
from ..errors import DeviceError, InputError
from . import onnx
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .onnx import Provider


def check_encoder(encoder: str, device: str) -> str:
    """What runs the image tower: ``"onnx"``, ``"tensorrt"`` or the file of an engine.

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
    if encoder not in ("onnx", "tensorrt") and not str(encoder).endswith(".engine"):
        raise InputError(f"encoder must be onnx, tensorrt or the path of an *.engine file, got {encoder!r}")
    if encoder != "onnx" and device == "cpu":
        raise DeviceError(f'TensorRT runs on a GPU: use device="cuda:0" with encoder={encoder!r}, or encoder="onnx"')
    if encoder not in ("onnx", "tensorrt") and not Path(encoder).is_file():
        raise InputError(f"no engine file at {encoder}; build one here: python -m fastconcept.export.tensorrt BUNDLE")
    return str(encoder)


def open_image_encoder(
    bundle: Bundle, device: Any, providers: Sequence[Provider], encoder: str = "onnx", num_threads: int | None = None
) -> Any:
    """The image tower of a bundle.

    Parameters
    ----------
    bundle : Bundle
    device : Device
        Of the kernels: ``fastconcept.kernels.cpu.Device`` or ``.cuda.Device``.
    providers : sequence
        ONNX Runtime's.
    encoder : str
        See :func:`check_encoder`.
    num_threads : int, optional

    Raises
    ------
    DeviceError
        If a provider or a fitting TensorRT engine is not there.
    MissingDependencyError
        If ONNX Runtime or TensorRT is not installed.
    BundleError
        If a file is damaged.
    """
    manifest = bundle.manifest
    if encoder != "onnx":
        from .tensorrt import TensorRTEncoder

        return TensorRTEncoder(_engine_file(bundle, device, encoder), manifest.embedding_dim, device.index)
    kind: Any = onnx.ImageEncoder if device.name == "cpu" else _on_gpu("ImageEncoder", device)
    return kind(bundle.file(manifest.image_encoder), manifest.embedding_dim, providers, num_threads)


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
    kind: Any = onnx.TextEncoder if device.name == "cpu" else _on_gpu("TextEncoder", device)
    return kind(bundle.file(manifest.text_encoder), tokenizer, manifest.embedding_dim, providers, num_threads)


def _on_gpu(name: str, device: Any) -> Any:
    from . import onnx_cuda

    return partial(getattr(onnx_cuda, name), device=device)


def _engine_file(bundle: Bundle, device: Any, encoder: str) -> Path:
    if encoder != "tensorrt":
        return Path(encoder)
    from .tensorrt import import_tensorrt
    from .tensorrt_cache import find_engine_for

    digest = bundle.manifest.files[bundle.manifest.image_encoder][0]
    return find_engine_for(digest, device.compute_capability, import_tensorrt().__version__)
