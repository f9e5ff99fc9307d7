"""Compiles an ONNX file with TensorRT: the only place that talks to its builder.

Not yet run on hardware. Written to the documented API of TensorRT 10 and 11; its names are checked against the bindings
of 10.16 and 11.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import ExportError
from .keys import write_whole

_WORKSPACE_BYTES = 4 << 30


def compile_plan(
    trt: Any, onnx_path: str | Path, shape: tuple[int, int], batch_sizes: Sequence[int], lean: bool, timing: Path
) -> bytes:
    """Build a strongly typed plan: one profile of a fixed shape per batch size.

    Parameters
    ----------
    trt : module
        ``tensorrt`` 10 or 11 (the lean runtime cannot build).
    onnx_path : str or Path
        The model, with the types that it computes in.
    shape : (h, w)
        Of the images.
    batch_sizes : sequence of int
        One profile each, in this order.
    lean : bool
        Make a plan that the lean runtime can run, too.
    timing : Path
        Timing cache, read if it is there, written back.

    Raises
    ------
    ExportError
        If TensorRT cannot parse the model or build the plan.
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
        raise ExportError(f"TensorRT {trt.__version__} cannot build a plan from {onnx_path}; see its messages above")
    write_whole(timing, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)
