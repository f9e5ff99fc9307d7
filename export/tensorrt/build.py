"""The TensorRT plan of a bundle's image encoder: built for one device, stored in a cache, refused if inaccurate."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...bundle import Bundle, find_bundle
from ...encoders.opening import open_image_onnx, open_image_plan
from ...encoders.tensorrt.plans import PREFERRED, import_tensorrt, plan_directory
from ...errors import DeviceError, ExportError, InputError, MissingDependencyError
from ..precision import PrecisionReport, compare_concepts
from .compile import compile_plan
from .half_onnx import halve
from .keys import PlanKey, check_batch_sizes, find_plan, store_plan, write_plan

DEFAULT_BATCH_SIZES = (1, 16, 64, 256)
_GATE_CONCEPTS = 64

Measure = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], PrecisionReport]


def build_plan(
    bundle: str | Path | Bundle | None = None,
    precision: str = "float16",
    batch_sizes: Sequence[int] = DEFAULT_BATCH_SIZES,
    images: npt.NDArray[np.float32] | None = None,
    *,
    device: str = "cuda:0",
    lean: bool = False,
    folder: Path | None = None,
    measure: Measure | None = None,
) -> Path:
    """The plan of a bundle's image encoder for one device: from the cache, or built, measured and stored.

    Parameters
    ----------
    bundle : str, Path or Bundle, optional
        As :func:`fastconcept.bundle.find_bundle` takes it.
    precision : {"float16", "bfloat16", "float32"}
        Type of weights and activations; see :mod:`fastconcept.export.tensorrt.half_onnx`.
    batch_sizes : sequence of int
        Buckets: one profile each.
    images : (n, 3, h, w) float32, optional
        Preprocessed images for the precision gate; noise and gradients by default.
    device : str
        ``"cuda"`` or ``"cuda:N"``.
    lean : bool
        Make it run on the lean runtime of the same TensorRT, too.
    folder : Path, optional
        The cache.
    measure : callable
        Compares float32 embeddings with those of the plan; by default embeddings, ranks and maps of 64 concepts.

    Returns
    -------
    Path
        ``*.plan``, for ``encoder=`` of :func:`fastconcept.load`.

    Raises
    ------
    InputError
        If an argument is out of range.
    MissingDependencyError, DeviceError
        If TensorRT (with its builder) or CuPy is not installed, or there is no such device.
    ExportError
        If the plan cannot be built, or fails the precision gate.
    """
    sizes = check_batch_sizes(batch_sizes)
    if precision not in PREFERRED:
        raise InputError(f"precision must be one of {', '.join(PREFERRED)}, got {precision!r}")
    index = _device_index(device)
    opened = bundle if isinstance(bundle, Bundle) else Bundle(find_bundle(bundle))
    source = opened.encoder(opened.manifest.image_encoder)
    trt = import_tensorrt()
    if not hasattr(trt, "Builder"):
        raise MissingDependencyError("tensorrt (this is the lean runtime, which cannot build plans)", "tensorrt")
    capability, driver = _device_facts(index)
    shape = _image_size(source)
    key = PlanKey(opened.manifest.image_digest, precision, sizes, shape, capability, trt.__version__, driver, lean)
    stored = find_plan(key, folder)
    if stored is not None:
        return stored
    place = folder or plan_directory()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        model = source
        if precision != "float32":
            model = Path(scratch) / "model.onnx"
            halve(source, model, precision)
        timing = place / f"timing-{capability}-{trt.__version__}.cache"
        content = compile_plan(trt, model, shape, sizes, lean, timing)
        trial = write_plan(Path(scratch) / "trial.plan", content, trt.__version__, capability)
        pixels = gate_images(shape) if images is None else images
        dim = opened.manifest.embedding_dim
        expected = open_image_onnx(source, dim).encode(pixels)
        rows = open_image_plan(trial, dim, index).encode(pixels)
        report = (measure or concept_measure(opened))(expected, rows)
    return store_plan(content, key, report, place)


def concept_measure(bundle: Bundle) -> Measure:
    """Embeddings, and ranks and maps of concepts spread over the bundle's bank, against float32."""
    from ...concepts.bank import ConceptBank
    from ...kernels.csr import Lists

    bank = ConceptBank.load(bundle.bank())
    chosen = np.unique(np.linspace(0, len(bank) - 1, _GATE_CONCEPTS).astype(int))
    if bank.taxonomy is None:
        subtrees = [np.array([i]) for i in chosen]
    else:
        subtrees = [np.asarray(bank.subtree(bank.names[i])) for i in chosen]
    lists = Lists.of(subtrees)._asdict()
    return functools.partial(compare_concepts, bank=np.asarray(bank.embeddings), **lists)


def gate_images(shape: tuple[int, int], count: int = 32, seed: int = 0) -> npt.NDArray[np.float32]:
    """Preprocessed images for the gate: noise of many grain sizes, contrasts and tints.

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


def _image_size(model: Path) -> tuple[int, int]:
    """Height and width that an encoder takes."""
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    sides = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    if len(graph.input) != 1 or len(sides) != 4 or sides[1] != 3 or min(sides[2:]) < 1:
        raise ExportError(f"{model} is not an image encoder of fixed height and width")
    return int(sides[2]), int(sides[3])


def _device_index(device: str) -> int:
    """N of ``cuda:N``."""
    kind, _, index = device.partition(":")
    if kind != "cuda" or (index and not index.isdecimal()):
        raise DeviceError(f"a TensorRT plan is built for a GPU: the device must be cuda or cuda:N, got {device!r}")
    return int(index or 0)


def _device_facts(index: int) -> tuple[str, str]:
    """Compute capability and driver version of a device."""
    try:
        import cupy
    except ImportError:
        raise MissingDependencyError("cupy", "gpu") from None
    try:
        return cupy.cuda.Device(index).compute_capability, str(cupy.cuda.runtime.driverGetVersion())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"there is no CUDA device {index}: {error}") from None
