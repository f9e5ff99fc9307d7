"""The two towers of a model as ONNX files."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError
from .model import Model

if TYPE_CHECKING:
    import torch

OPSET = 18
_MAX_INLINE_BYTES = 1_800_000_000  # a protobuf message ends at 2 GB; larger weights go beside the model


def write_image_tower(model: Model, path: Path) -> list[str]:
    """Write the image tower: float32 pixels (batch, 3, h, w) to unit rows (batch, d).

    The sides are those of the model's preprocessing; a model that has a size of its own for patches takes any sides.

    Returns
    -------
    list of str
        Names of the files written: the model, and its weights where they do not fit into it.

    Raises
    ------
    ExportError
        If the architecture has an operation that ONNX cannot express.
    """
    import torch

    example = torch.zeros(2, 3, *model.preprocess.size)
    sides = {2: "height", 3: "width"} if model.preprocess.patch_size else {}
    return write_module(model.image, example, path, "pixels", {0: "batch", **sides})


def write_text_tower(model: Model, path: Path) -> list[str]:
    """Write the text tower: int64 tokens (batch, length) to unit rows (batch, d); see :func:`write_image_tower`."""
    import torch

    length = min(8, model.context_length) if model.dynamic_text else model.context_length
    example = torch.ones(2, length, dtype=torch.int64)
    axes = {0: "batch", 1: "length"} if model.dynamic_text else {0: "batch"}
    return write_module(model.text, example, path, "tokens", axes)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the chatter of other packages off the terminal; errors are raised all the same.

    Loggers of packages have levels and handlers of their own, the hub's for one, which reports every retry.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def write_module(
    module: torch.nn.Module, example: torch.Tensor, path: Path, name: str, axes: dict[int, str]
) -> list[str]:
    """Write a module with one input and one output; ``axes`` of the input may have any length.

    Returns and raises as :func:`write_image_tower`.
    """
    import torch

    dynamic = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is a fused operator that ONNX does not know
    try:
        with torch.inference_mode(), quiet():
            program = torch.onnx.export(
                module,
                (example,),
                input_names=[name],
                output_names=["embeddings"],
                dynamic_shapes=(dynamic,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise ExportError(f"the tower of {name} cannot be written as ONNX: {error}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    _forget_origins(program.model)
    weights = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
    external = weights > _MAX_INLINE_BYTES
    program.save(str(path), external_data=external)
    return [path.name, f"{path.name}.data"] if external else [path.name]


def _forget_origins(model: Any) -> None:
    """Remove the stack traces that the exporter leaves: they hold paths of this machine."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
