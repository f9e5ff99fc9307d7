"""Smaller encoder files: weights are stored in 16 or 8 bits, and everything is still computed in float32.

Large weights become float16 with a cast behind them. ONNX Runtime folds the casts when it opens the file, so nothing is
slower and only the weights themselves are rounded. Tables that are only looked up (token embeddings) become 8-bit
integers with one scale per row, and only the rows that a text needs are converted back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError

_SMALLEST = 1024  # elements: smaller weights are left as they are
_FLOAT16_MAX = 65504.0


def compact(path: str | Path) -> dict[str, int]:
    """Rewrite an ONNX file with smaller weights, in place.

    Parameters
    ----------
    path : str or Path
        A float32 model with its weights inside.

    Returns
    -------
    dict
        ``"before"`` and ``"after"``: bytes of the file; ``"half"`` and ``"bytes"``: weights stored in 16 and 8 bits.

    Raises
    ------
    ExportError
        If the file cannot be read, keeps its weights in another file, or holds a weight that is not a number or is
        beyond the range of float16 (the infinities of attention masks stay).
    """
    import onnx

    path = Path(path)
    before = path.stat().st_size if path.is_file() else 0
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf, onnx and the file system raise errors without a common base
        raise ExportError(f"{path} cannot be read as ONNX: {error}") from None
    if any(weight.data_location == onnx.TensorProto.EXTERNAL for weight in model.graph.initializer):
        raise ExportError(f"{path} keeps its weights in another file; models this large are not made compact")
    counts = _Compactor(model, path).rewrite()
    partial = path.with_name(f".{path.name}.partial")
    onnx.save(model, str(partial))
    partial.replace(path)
    return {"before": before, "after": path.stat().st_size, **counts}


class _Compactor:
    """Replaces the initializers of one graph; the nodes that convert them back come first."""

    def __init__(self, model: Any, path: Path) -> None:
        self.graph, self.path = model.graph, path
        self.first: list[Any] = []

    def rewrite(self) -> dict[str, int]:
        import onnx

        users: dict[str, list[tuple[Any, int]]] = {}
        for node in self.graph.node:
            for position, name in enumerate(node.input):
                users.setdefault(name, []).append((node, position))
        counts = {"half": 0, "bytes": 0}
        for weight in list(self.graph.initializer):
            if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < _SMALLEST:
                continue
            values = onnx.numpy_helper.to_array(weight)
            if np.isnan(values).any() or (np.abs(values[np.isfinite(values)]) > _FLOAT16_MAX).any():
                raise ExportError(f"{self.path}: the weight {weight.name!r} is not a number or beyond float16")
            uses = users.get(weight.name, [])
            table = values.ndim == 2 and bool(np.isfinite(values).all())
            if table and uses and all(_is_lookup(node, position) for node, position in uses):
                self._to_bytes(weight, values, [node for node, _ in uses])
                counts["bytes"] += 1
            else:
                self._to_half(weight, values)
                counts["half"] += 1
        nodes = [*self.first, *self.graph.node]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        return counts

    def _to_half(self, weight: Any, values: np.ndarray) -> None:
        from onnx import TensorProto, helper, numpy_helper

        name, stored = weight.name, f"{weight.name}_half"
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        self.first.append(helper.make_node("Cast", [stored], [name], f"{name}_widen", to=TensorProto.FLOAT))

    def _to_bytes(self, weight: Any, values: np.ndarray, lookups: list[Any]) -> None:
        """Gather(table, ids) becomes Cast(Gather(integers, ids)) * Gather(scales, ids)."""
        from onnx import TensorProto, helper, numpy_helper

        scales = np.maximum(np.abs(values).max(1, keepdims=True), np.finfo(np.float32).tiny) / 127
        integers = np.rint(values / scales).astype(np.int8)
        table, rows = f"{weight.name}_bytes", f"{weight.name}_scales"
        weight.CopyFrom(numpy_helper.from_array(integers, table))
        self.graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), rows))
        for lookup in lookups:
            ids, result = lookup.input[1], lookup.output[0]
            nodes = [
                helper.make_node("Gather", [table, ids], [f"{result}_bytes"], axis=0),
                helper.make_node("Cast", [f"{result}_bytes"], [f"{result}_wide"], to=TensorProto.FLOAT),
                helper.make_node("Gather", [rows, ids], [f"{result}_scales"], axis=0),
                helper.make_node("Mul", [f"{result}_wide", f"{result}_scales"], [result]),
            ]
            at = next(i for i, node in enumerate(self.graph.node) if node == lookup)
            del self.graph.node[at]
            for offset, node in enumerate(nodes):
                self.graph.node.insert(at + offset, node)


def _is_lookup(node: Any, position: int) -> bool:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return node.op_type == "Gather" and position == 0 and axis == 0
