"""Several ONNX models whose large weights lie in one file, equal ones once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

_SMALLEST = 1024  # bytes: smaller weights stay inside the model
_ALIGNED = 64  # bytes


def share_weights(models: Sequence[Path], data: Path) -> None:
    """Rewrite models in place so that they refer to one file of weights beside them.

    Parameters
    ----------
    models : sequence of Path
        ONNX files with their weights inside, in the directory of ``data``.
    data : Path
        The file to write.
    """
    import onnx
    from onnx import numpy_helper
    from onnx.external_data_helper import set_external_data

    places: dict[str, tuple[int, int]] = {}
    with data.open("wb") as stream:
        for path in models:
            model = onnx.load(str(path), load_external_data=False)
            for weight in model.graph.initializer:
                if not weight.HasField("raw_data"):
                    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight), weight.name))
                content = weight.raw_data
                if len(content) < _SMALLEST:
                    continue
                digest = hashlib.sha256(content).hexdigest()
                if digest not in places:
                    stream.write(bytes(-stream.tell() % _ALIGNED))
                    places[digest] = stream.tell(), len(content)
                    stream.write(content)
                offset, length = places[digest]
                set_external_data(weight, data.name, offset, length)
                weight.ClearField("raw_data")
            onnx.save(model, str(path))
