"""Writes a model repository: the engine's methods through the Python backend, and the image encoder as ONNX."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ...bundle import Bundle, find_bundle
from ...errors import ExportError, InputError
from ...files import whole_directory
from ...protocol.models import MODELS, Model, Tensor
from ...weight_files import weight_files

ENCODER = "image_encoder"
_MODEL_PY = '''"""Written by fastconcept; what it does is in the package."""

import os
import sys

# Triton's Python ignores this variable; with it, the package may lie in a virtual environment.
sys.path += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]

from fastconcept.export.triton.backend import TritonPythonModel  # noqa: E402, F401
'''
_KINDS = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32"}


def export_triton(
    folder: str | os.PathLike[str],
    bundle: str | os.PathLike[str] | None = None,
    *,
    device: str = "cpu",
    max_batch: int = 32,
    max_delay: float = 2.0,
    instances: int = 1,
    overwrite: bool = False,
) -> list[str]:
    """Write a model repository for Triton Inference Server.

    It holds ``embed``, ``embed_text``, ``decompose``, ``explain`` and ``concepts``, which take files of photographs and
    have the tensors of ``fastconcept serve``; and ``image_encoder``, the bundle's ONNX model by itself, for those who
    preprocess and only embed. Triton's Python needs fastconcept installed; the bundle stays where it is.

    Parameters
    ----------
    folder : path
        Directory of the new repository.
    bundle : str or path, optional
        As for :func:`fastconcept.load`.
    device : str
        ``"cpu"``, or ``"cuda"`` for the GPUs that Triton gives to each instance.
    max_batch : int
        Images of several requests that are encoded together.
    max_delay : float
        Milliseconds that a request waits for others.
    instances : int
        Copies of each model on each device.
    overwrite : bool
        Replace a repository that is there.

    Returns
    -------
    list of str
        Names of the models.

    Raises
    ------
    BundleError
        If there is no such bundle or it is damaged.
    ExportError
        If something else lies at ``folder``.
    InputError
        If a number is not positive, or the device is another one.
    """
    target = Path(folder)
    if device not in ("cpu", "cuda"):
        raise InputError(f"device must be cpu or cuda, since Triton chooses the GPU; got {device!r}")
    for name, value in (("max_batch", max_batch), ("max_delay", max_delay), ("instances", instances)):
        if not 0 < value < 1e6:
            raise InputError(f"{name} must be positive, got {value!r}")
    _check_target(target, overwrite)
    opened = Bundle(find_bundle(bundle))
    batching = _batching(max_batch, max_delay)
    group = _instances(device, instances)
    with whole_directory(target) as staged:
        for model in MODELS.values():
            settings = {"bundle": str(opened.path.absolute()), "device": device, "method": model.name}
            config = _python_config(model, opened.manifest.embedding_dim, settings, batching, group)
            _write(staged / model.name, config, _MODEL_PY)
        _write(staged / ENCODER, _encoder_config(opened, batching, group))
        _copy_encoder(opened, staged / ENCODER / "1")
    return [*MODELS, ENCODER]


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise ExportError(f"{target.parent} does not exist; create it first")
    if not target.exists():
        return
    if not target.is_dir() or (any(target.iterdir()) and not (target / ENCODER / "config.pbtxt").is_file()):
        raise ExportError(f"{target} holds other things; give a directory that does not exist yet")
    if any(target.iterdir()) and not overwrite:
        raise ExportError(f"{target} is already a model repository; use --overwrite to replace it")


def _write(folder: Path, config: str, code: str | None = None) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config, "utf-8")
    if code is not None:
        (folder / "1" / "model.py").write_text(code, "utf-8")


def _copy_encoder(bundle: Bundle, folder: Path) -> None:
    source = bundle.encoder(bundle.manifest.image_encoder)
    shutil.copyfile(source, folder / "model.onnx")
    for name in weight_files(source):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / name, folder / name)


# Configurations -------------------------------------------------------------------------------------------------------


def _python_config(model: Model, dim: int, settings: dict[str, str], batching: str, group: str) -> str:
    batched = model.batched
    parts = [
        f'name: {_quoted(model.name)}\nbackend: "python"\n',
        batching if batched else "max_batch_size: 0\n",
        *(_tensor("input", tensor, dim, batched) for tensor in model.inputs),
        *(_tensor("output", tensor, dim, batched) for tensor in model.outputs),
        *(
            f"parameters {{\n  key: {_quoted(key)}\n  value {{ string_value: {_quoted(value)} }}\n}}\n"
            for key, value in settings.items()
        ),
        group,
    ]
    return "".join(parts)


def _encoder_config(bundle: Bundle, batching: str, group: str) -> str:
    height, width = bundle.manifest.preprocess.size
    pixels, rows = Tensor("pixels", "FP32", (-1, 3, height, width)), Tensor("embeddings", "FP32", (-1, 0))
    dim = bundle.manifest.embedding_dim
    tensors = _tensor("input", pixels, dim, True) + _tensor("output", rows, dim, True)
    return f'name: "{ENCODER}"\nbackend: "onnxruntime"\n{batching}{tensors}{group}'


def _tensor(kind: str, tensor: Tensor, dim: int, batched: bool) -> str:
    sides: Sequence[int] = tensor.sides(dim)[1:] if batched else tensor.sides(dim)
    shown = ", ".join(map(str, sides))
    return (
        f"{kind} {{\n  name: {_quoted(tensor.name)}\n  data_type: {_KINDS[tensor.datatype]}\n  dims: [ {shown} ]\n}}\n"
    )


def _batching(max_batch: int, max_delay: float) -> str:
    delay = round(max_delay * 1000)
    return f"max_batch_size: {max_batch}\ndynamic_batching {{ max_queue_delay_microseconds: {delay} }}\n"


def _instances(device: str, count: int) -> str:
    return f"instance_group {{\n  kind: {'KIND_CPU' if device == 'cpu' else 'KIND_GPU'}\n  count: {count}\n}}\n"


def _quoted(text: str) -> str:
    """A string of the text format of protocol buffers."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03o}" for byte in os.fsencode(text)
    )
    return f'"{escaped}"'
