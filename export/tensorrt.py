"""TensorRT engines from a bundle's image encoder: built once per device, kept in a cache, refused if inaccurate.

``python -m fastconcept.export.tensorrt BUNDLE [--precision float16] [--batch-sizes 1 64 256] [--images FOLDER]``

Not yet run on hardware. What talks to TensorRT is :func:`build_plan`, to the documented API of TensorRT 10 and 11; its
names are checked against the bindings of 10.16 and 11.4. Everything else here is tested without a GPU.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconcept.bundle import Bundle, find_bundle, sha256_of
from fastconcept.encoders.tensorrt import TensorRTEncoder, import_tensorrt, read_engine
from fastconcept.encoders.tensorrt_cache import PREFERRED as PRECISIONS
from fastconcept.encoders.tensorrt_cache import cache_directory
from fastconcept.errors import DeviceError, ExportError, InputError, MissingDependencyError

from .half_onnx import halve
from .precision import PrecisionReport, compare_concepts, require_precision

DEFAULT_BATCH_SIZES = (1, 16, 64, 256)
_MAX_BATCH = 4096
_WORKSPACE_BYTES = 4 << 30
_GATE_CONCEPTS = 64

Measure = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], PrecisionReport]


@dataclass(frozen=True)
class EngineKey:
    """Everything an engine depends on; two engines with equal keys are interchangeable."""

    model_sha256: str
    precision: str
    batch_sizes: tuple[int, ...]
    size: tuple[int, int]
    compute_capability: str
    tensorrt: str
    driver: str
    lean: bool = False

    def digest(self) -> str:
        """Name of the engine in the cache.

        Examples
        --------
        >>> key = EngineKey("0" * 64, "float16", (1, 64), (224, 224), "90", "10.16.1.11", "13000")
        >>> len(key.digest()), key.digest() == EngineKey(**{**vars(key), "driver": "13010"}).digest()
        (32, False)
        """
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


def check_batch_sizes(batch_sizes: Sequence[int]) -> tuple[int, ...]:
    """Distinct positive batch sizes in rising order.

    Raises
    ------
    InputError
        If there are none, more than 16, or one is not from 1 to 4096.

    Examples
    --------
    >>> check_batch_sizes([64, 1, 64])
    (1, 64)
    """
    sizes = sorted(set(batch_sizes))
    whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if not 1 <= len(sizes) <= 16 or not whole or not all(1 <= size <= _MAX_BATCH for size in sizes):
        raise InputError(f"batch sizes must be 1 to 16 integers from 1 to {_MAX_BATCH}, got {list(batch_sizes)!r}")
    return tuple(sizes)


def find_engine(key: EngineKey, folder: Path | None = None) -> Path | None:
    """An engine with this key from the cache, or None; a damaged one counts as none.

    Examples
    --------
    >>> find_engine(EngineKey("0" * 64, "float16", (1,), (8, 8), "90", "10", "13"), Path("/nonexistent")) is None
    True
    """
    path = (folder or cache_directory()) / f"{key.digest()}.engine"
    try:
        _, facts = read_engine(path)
    except Exception:  # a missing, damaged or half-written engine is built again
        return None
    return path if facts.get("key") == json.loads(json.dumps(asdict(key))) else None


def store_engine(plan: bytes, key: EngineKey, report: PrecisionReport, folder: Path | None = None) -> Path:
    """Put an engine that passed the gate into the cache, notes first, each file in one step.

    Raises
    ------
    ExportError
        If the report does not pass.
    """
    require_precision(report, f"the {key.precision} engine")
    folder = folder or cache_directory()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key.digest()}.engine"
    facts = {
        "key": asdict(key),
        "sha256": hashlib.sha256(plan).hexdigest(),
        "tensorrt": key.tensorrt,
        "compute_capability": key.compute_capability,
        "precision": report.to_dict(),
    }
    _write(path.with_name(path.name + ".json"), json.dumps(facts, indent=1).encode())
    _write(path, plan)
    return path


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(name, path)


def build_plan(
    trt: Any, onnx_path: str | Path, shape: tuple[int, int], batch_sizes: Sequence[int], lean: bool, timing: Path
) -> bytes:
    """Build a strongly typed engine: one profile of a fixed shape per batch size.

    Parameters
    ----------
    trt : module
        ``tensorrt`` 10 or 11 (the lean runtime cannot build).
    onnx_path : str or Path
        The model, its types already as they shall be.
    shape : (h, w)
        Of the images.
    batch_sizes : sequence of int
        One profile each, in this order.
    lean : bool
        Make an engine that the lean runtime can run, too.
    timing : Path
        Timing cache, read if it is there, written back.

    Raises
    ------
    ExportError
        If TensorRT cannot parse the model or build the engine.
    """
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        problems = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ExportError(f"TensorRT {trt.__version__} cannot parse {onnx_path}: {problems}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)
    if lean:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    cache = config.create_timing_cache(timing.read_bytes() if timing.exists() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    name = network.get_input(0).name
    for size in batch_sizes:
        profile = builder.create_optimization_profile()
        profile.set_shape(name, (size, 3, *shape), (size, 3, *shape), (size, 3, *shape))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT {trt.__version__} cannot build an engine from {onnx_path}; see its messages above")
    _write(timing, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def build_engine(
    bundle: str | Path | Bundle | None = None,
    precision: str = "float16",
    batch_sizes: Sequence[int] = DEFAULT_BATCH_SIZES,
    images: npt.NDArray[np.float32] | None = None,
    *,
    device: int = 0,
    lean: bool = False,
    folder: Path | None = None,
    measure: Measure | None = None,
) -> Path:
    """The engine of a bundle's image encoder for one device: from the cache, or built, measured and kept.

    Parameters
    ----------
    bundle : str, Path or Bundle, optional
        As :func:`fastconcept.bundle.find_bundle` takes it.
    precision : {"float16", "bfloat16", "float32"}
        Of weights and activations; see :mod:`fastconcept.export.half_onnx`.
    batch_sizes : sequence of int
        Buckets: one profile each.
    images : (n, 3, h, w) float32, optional
        Preprocessed images for the precision gate; noise and gradients by default.
    device : int
        CUDA device.
    lean : bool
        Make it run on the lean runtime of the same TensorRT, too.
    folder : Path, optional
        The cache.
    measure : callable
        Compares float32 embeddings with those of the engine; by default embeddings, ranks and maps of 64 concepts.

    Returns
    -------
    Path
        ``*.engine`` for :class:`fastconcept.encoders.tensorrt.TensorRTEncoder`.

    Raises
    ------
    InputError
        If an argument is out of range.
    MissingDependencyError, DeviceError
        If TensorRT (with its builder) or CuPy is not installed, or there is no device.
    ExportError
        If the engine cannot be built, or fails the precision gate.
    """
    sizes = check_batch_sizes(batch_sizes)
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    opened = bundle if isinstance(bundle, Bundle) else Bundle(find_bundle(bundle))
    source = opened.file(opened.manifest.image_encoder)
    trt = import_tensorrt()
    if not hasattr(trt, "Builder"):
        raise MissingDependencyError("tensorrt (this is the lean runtime, which cannot build engines)", "tensorrt")
    capability, driver = _device_facts(device)
    shape = _image_size(source)
    key = EngineKey(sha256_of(source), precision, sizes, shape, capability, trt.__version__, driver, lean)
    kept = find_engine(key, folder)
    if kept is not None:
        return kept
    place = folder or cache_directory()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        model = source
        if precision != "float32":
            model = Path(scratch) / "model.onnx"
            halve(source, model, precision)
        timing = place / f"timing-{capability}-{trt.__version__}.cache"
        plan = build_plan(trt, model, shape, sizes, lean, timing)
        trial = Path(scratch) / "trial.engine"
        trial.write_bytes(plan)
        facts = {
            "sha256": hashlib.sha256(plan).hexdigest(),
            "tensorrt": trt.__version__,
            "compute_capability": capability,
        }
        trial.with_name(trial.name + ".json").write_text(json.dumps(facts), encoding="utf-8")
        pixels = gate_images(shape) if images is None else images
        rows = TensorRTEncoder(trial, opened.manifest.embedding_dim, device).encode(pixels)
        report = (measure or concept_measure(opened))(_float32_rows(source, pixels), rows)
    return store_engine(plan, key, report, place)


def concept_measure(bundle: Bundle) -> Measure:
    """Embeddings, and ranks and maps of concepts spread over the bundle's bank, against float32."""
    from fastconcept.concepts.bank import ConceptBank

    bank = ConceptBank.load(bundle.bank())
    chosen = np.unique(np.linspace(0, len(bank) - 1, _GATE_CONCEPTS).astype(int))
    if bank.taxonomy is None:
        subtrees = [np.array([i]) for i in chosen]
    else:
        subtrees = [np.asarray(bank.subtree(bank.names[i])) for i in chosen]
    indptr, indices = np.cumsum([0, *map(len, subtrees)]), np.concatenate(subtrees).astype(np.int64)
    return functools.partial(compare_concepts, bank=np.asarray(bank.embeddings), indptr=indptr, indices=indices)


def gate_images(shape: tuple[int, int], count: int = 32, seed: int = 0) -> npt.NDArray[np.float32]:
    """Preprocessed images for the gate where none are given: noise of every coarseness, contrast and tint.

    Examples
    --------
    >>> gate_images((32, 32), 4).shape
    (4, 3, 32, 32)
    """
    rng = np.random.default_rng(seed)
    images = np.empty((count, 3, *shape), np.float32)
    for i, image in enumerate(images):
        cells = 2 ** (1 + i % 6)
        coarse = rng.standard_normal((3, cells, cells)) * rng.uniform(0.2, 1.5) + rng.normal(0, 0.5, (3, 1, 1))
        rows, columns = (np.arange(side) * cells // side for side in shape)
        image[:] = np.clip(coarse[:, rows][:, :, columns], -2, 2)
    return images


def _float32_rows(model: Path, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The original's embeddings from ONNX Runtime on the CPU."""
    from fastconcept.encoders.onnx import create_session

    session = create_session(model)
    name = session.get_inputs()[0].name
    runs = [session.run(None, {name: pixels[i : i + 8]})[0] for i in range(0, len(pixels), 8)]
    return np.concatenate(runs)


def _image_size(model: Path) -> tuple[int, int]:
    """Height and width that an encoder takes."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    sides = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    if len(graph.input) != 1 or len(sides) != 4 or sides[1] != 3 or min(sides[2:]) < 1:
        raise ExportError(f"{model} is not an image encoder of fixed height and width")
    return int(sides[2]), int(sides[3])


def _device_facts(device: int) -> tuple[str, str]:
    """Compute capability and driver version of a device."""
    try:
        import cupy
    except ImportError:
        raise MissingDependencyError("cupy", "gpu") from None
    try:
        return cupy.cuda.Device(device).compute_capability, str(cupy.cuda.runtime.driverGetVersion())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"there is no CUDA device {device}: {error}") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    command = argparse.ArgumentParser(description="Build the TensorRT engine of a bundle's image encoder.")
    command.add_argument("bundle", nargs="?")
    command.add_argument("--precision", choices=PRECISIONS, default="float16")
    command.add_argument("--batch-sizes", type=int, nargs="+", default=list(DEFAULT_BATCH_SIZES))
    command.add_argument("--device", type=int, default=0)
    command.add_argument("--lean", action="store_true")
    given = command.parse_args(arguments)
    print(build_engine(given.bundle, given.precision, given.batch_sizes, device=given.device, lean=given.lean))


if __name__ == "__main__":
    main()
