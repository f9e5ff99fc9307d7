"""Which other files does an ONNX model read? Its weights may lie beside it, and ONNX Runtime opens what it names.

A model is a message of protocol buffers (https://protobuf.dev/programming-guides/encoding); a tensor with its data in
another file names it under the key ``location`` of ``external_data`` (onnx.proto). Only these names are read here,
because the package ``onnx`` belongs to the export.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from .errors import BundleError

# Where tensors may be: (field of a message, kind of the message in it). Everything else is skipped.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING, _ENTRY = range(9)
_FIELDS: dict[int, dict[int, int]] = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _TENSOR: {13: _ENTRY},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}
_DEEPEST = 100  # messages inside messages, as protocol buffers allow by default


def weight_files(path: Path) -> list[str]:
    """Names of the files that an ONNX model takes weights from, as it writes them: relative to its own directory.

    Raises
    ------
    BundleError
        If the file is not a message of protocol buffers.
    """
    if not path.stat().st_size:
        return []
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(b"location") < 0:  # the usual case, found out at the speed of memory
            return []
        names: dict[str, None] = {}
        try:
            _collect(data, 0, len(data), _MODEL, 0, names)
        except (IndexError, ValueError):
            raise BundleError(f"{path} is not an ONNX model; export the model again") from None
        return list(names)


def _collect(data: mmap.mmap, at: int, end: int, kind: int, depth: int, names: dict[str, None]) -> None:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    inside, key, value = _FIELDS.get(kind, {}), b"", b""
    while at < end:
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError("cut off")
            if field in inside:
                _collect(data, at, at + length, inside[field], depth + 1, names)
            elif kind == _ENTRY and field in (1, 2):
                key, value = (data[at : at + length], value) if field == 1 else (key, data[at : at + length])
            at += length
        else:
            raise ValueError("unknown type")
    if key == b"location":
        names.setdefault(value.decode())


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("number too long")
