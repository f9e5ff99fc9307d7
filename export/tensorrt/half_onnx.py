"""Rewrites a float32 ONNX encoder in half precision, with every type spelled out as strongly typed runtimes need it.

Weights and activations become float16 or bfloat16. LayerNormalization, Softmax and reductions stay in float32 between
casts, and so does everything behind the last matrix product (the projection's normalisation): sums of squares of
float16 activations overflow or lose the bits that the cosine needs. Inputs and outputs stay float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ExportError, InputError

FLOAT32_OPERATORS = {
    *("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization", "BatchNormalization"),
    *("Softmax", "LogSoftmax", "ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare", "LpNormalization"),
    *("Pow", "Sqrt", "Exp", "Log", "Reciprocal"),
}
PRODUCTS = {"MatMul", "Gemm", "Conv"}
PRECISIONS = ("float16", "bfloat16")
_CASTS_BOTH_WAYS = {"Cast", "CastLike"}


def halve(source: str | Path, target: str | Path, precision: str = "float16") -> dict[str, int]:
    """Write ``source`` with half-precision types to ``target``.

    Parameters
    ----------
    source, target : str or Path
        ONNX files; ``target`` holds its weights inside.
    precision : {"float16", "bfloat16"}
        Type of weights and activations.

    Returns
    -------
    dict
        Numbers of nodes computed in ``"half"`` and ``"float32"``, and of ``"casts"`` inserted between them.

    Raises
    ------
    InputError
        If the precision is none of these.
    ExportError
        If the graph has branches or functions, is not float32, or a weight does not fit the precision.
    """
    import onnx

    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(str(source)), strict_mode=False)
    except Exception as error:  # protobuf, onnx and the file system raise errors without a common base
        raise ExportError(f"{source} cannot be read as ONNX: {error}") from None
    if model.functions or any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute):
        raise ExportError(f"{source} has functions or branches; inline them first (onnx.inliner)")
    writer = _Writer(model, precision)
    writer.rewrite()
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    return writer.counts


class _Writer:
    """Rewrites the nodes of one graph in order, keeping for every float tensor a name per type."""

    def __init__(self, model: Any, precision: str) -> None:
        import onnx

        self._onnx, self._graph = onnx, model.graph
        self._half = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}[precision]
        self._full = onnx.TensorProto.FLOAT
        infos = [*self._graph.value_info, *self._graph.input, *self._graph.output]
        self._floats = {i.name for i in infos if i.type.tensor_type.elem_type == self._full}
        self._weights = {w.name: w for w in self._graph.initializer if w.data_type == self._full}
        self._types = {i.name: self._full for i in self._graph.input if i.name in self._floats}
        self._names: dict[tuple[str, int], str] = {}
        self._nodes: list[Any] = []
        self.counts = {"half": 0, "float32": 0, "casts": 0}

    def rewrite(self) -> None:
        """Replace the nodes, weights and inner types of the graph."""
        graph, tail = self._graph, self._tail()
        for i, node in enumerate(graph.node):
            full = node.op_type in FLOAT32_OPERATORS or i in tail
            self._place(node, self._full if full else self._half)
        for output in graph.output:
            if self._types.get(output.name) == self._half:
                self._finish(output.name)
        used = {name for node in self._nodes for name in node.input}
        weights = [weight for weight in graph.initializer if weight.name in used]
        del graph.node[:], graph.value_info[:], graph.initializer[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(weights)
        names = {weight.name for weight in weights}
        graph.initializer.extend(w for w in self._converted_weights() if w.name not in names)

    def _tail(self) -> set[int]:
        """Nodes from which no matrix product can be reached."""
        feeds: set[str] = set()
        tail = set()
        for i in reversed(range(len(self._graph.node))):
            node = self._graph.node[i]
            if node.op_type in PRODUCTS or any(name in feeds for name in node.output):
                feeds.update(node.input)
            else:
                tail.add(i)
        return tail

    def _place(self, node: Any, kind: int) -> None:
        new = self._onnx.NodeProto()
        new.CopyFrom(node)
        floats = [name for name in node.input if name in self._types or name in self._weights]
        outputs = [name for name in node.output if name in self._floats]
        self._retype_attributes(new, kind)
        for place, name in enumerate(node.input):
            if name in floats:
                new.input[place] = self._as(name, kind)
        if floats or outputs:
            self.counts["half" if kind == self._half else "float32"] += 1
        self._nodes.append(new)
        for name in outputs:
            self._types[name] = kind

    def _retype_attributes(self, node: Any, kind: int) -> None:
        """Casts and constants to float32 make the type of their node instead."""
        for attribute in node.attribute:
            if node.op_type in _CASTS_BOTH_WAYS and attribute.name == "to" and attribute.i == self._full:
                attribute.i = kind
            if attribute.HasField("t") and attribute.t.data_type == self._full:
                attribute.t.CopyFrom(self._converted(attribute.t, kind))
            if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                raise ExportError("constants as bare numbers are not supported; export with opset 18 or later")

    def _as(self, name: str, kind: int) -> str:
        """The name under which a tensor exists in a type, converted or cast on first use."""
        if self._types.get(name) == kind:
            return name
        if name in self._weights and kind == self._full:
            return name
        alias = f"{name}__{'half' if kind == self._half else 'full'}"
        if (name, kind) not in self._names:
            self._names[name, kind] = alias
            if name not in self._weights:
                self._nodes.append(self._onnx.helper.make_node("Cast", [name], [alias], f"cast_{alias}", to=kind))
                self.counts["casts"] += 1
        return alias

    def _finish(self, name: str) -> None:
        """A graph output that is computed in half precision gets its name back in float32."""
        inner = f"{name}__half"
        for node in self._nodes:
            for names in (node.input, node.output):
                for place, other in enumerate(names):
                    if other == name:
                        names[place] = inner
        self._nodes.append(self._onnx.helper.make_node("Cast", [inner], [name], f"cast_{name}", to=self._full))
        self.counts["casts"] += 1

    def _converted_weights(self) -> list[Any]:
        weights = []
        for (name, kind), alias in self._names.items():
            if name in self._weights:
                weight = self._converted(self._weights[name], kind)
                weight.name = alias
                weights.append(weight)
        return weights

    def _converted(self, tensor: Any, kind: int) -> Any:
        array = self._onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            converted = array.astype(self._onnx.helper.tensor_dtype_to_np_dtype(kind))
        if not np.isfinite(converted.astype(np.float32)[np.isfinite(array)]).all():
            raise ExportError(f"the weight {tensor.name} does not fit half precision; use bfloat16")
        return self._onnx.numpy_helper.from_array(converted, tensor.name)
