"""Tensors of the open inference protocol (KServe v2), in JSON and in its binary extension.

A request with binary tensors is a JSON document, whose length is in the header ``Inference-Header-Content-Length``, and
the bytes of the tensors behind it, in order. Elements of the type BYTES have their length before them, four bytes,
little-endian.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .forms import json_object
from .refusals import MalformedError

HEADER = "Inference-Header-Content-Length"
_MAX_AXES = 8
_LENGTH = re.compile("[0-9]{1,15}")


@dataclass
class InferRequest:
    """What a client asks a model.

    Attributes
    ----------
    id : str
        The client's name for the request.
    inputs : dict of str to list
        Elements of every input: bytes where they were sent in binary, else strings.
    shapes : dict of str to list of int
    parameters : dict
        Of the request.
    outputs : dict of str to bool, or None
        The outputs that are wanted and whether in binary; None for all.
    """

    id: str
    inputs: dict[str, list[bytes | str]]
    shapes: dict[str, list[int]]
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, bool] | None = None

    @property
    def binary(self) -> bool:
        """Whether outputs that nobody named are sent in binary."""
        return self.parameters.get("binary_data_output") is True


def read_request(body: bytes, header_length: str | None) -> InferRequest:
    """Read the body of a request.

    Raises
    ------
    MalformedError
        If it does not follow the protocol.
    """
    length = len(body)
    if header_length is not None:
        if not (_LENGTH.fullmatch(header_length) and int(header_length) <= len(body)):
            raise MalformedError(f"{HEADER} is {header_length[:20]!r}, the body has {len(body)} bytes")
        length = int(header_length)
    document = json_object(body[:length])
    request = InferRequest(str(document.get("id", "")), {}, {}, _mapping("parameters", document.get("parameters", {})))
    place = length
    for tensor in _list("inputs", document.get("inputs")):
        name, shape, count = _described(tensor)
        size = _mapping("parameters", tensor.get("parameters", {})).get("binary_data_size")
        if size is None:
            elements: list[bytes | str] = _flat(name, tensor.get("data"))
        else:
            if type(size) is not int or not 0 <= size <= len(body) - place:
                raise MalformedError(f"{name}: binary_data_size is {size!r}, {len(body) - place} bytes are left")
            elements = _of_bytes(name, memoryview(body)[place : place + size])
            place += size
        if len(elements) != count:
            raise MalformedError(f"{name} has {len(elements)} elements, its shape {shape} says {count}")
        request.inputs[name], request.shapes[name] = elements, shape
    if place != len(body):
        raise MalformedError(f"{len(body) - place} bytes follow the last tensor")
    if document.get("outputs"):
        request.outputs = {}
        for output in _list("outputs", document["outputs"]):
            chosen = _mapping("an output", output)
            binary = _mapping("parameters", chosen.get("parameters", {})).get("binary_data", request.binary)
            request.outputs[str(chosen.get("name"))] = binary is True
    return request


def _described(tensor: Any) -> tuple[str, list[int], int]:
    described = _mapping("an input", tensor)
    name, kind, shape = (described.get(key) for key in ("name", "datatype", "shape"))
    if not isinstance(name, str):
        raise MalformedError("an input has no name")
    if kind != "BYTES":
        raise MalformedError(f"{name[:80]} must be of the type BYTES, got {str(kind)[:40]}")
    axes: list[Any] = shape if isinstance(shape, list) and len(shape) <= _MAX_AXES else [None]
    if not all(isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 1 << 31 for side in axes):
        raise MalformedError(f"{name[:80]} has no shape of numbers that are not negative: {str(shape)[:80]}")
    return name, axes, math.prod(axes)


def _of_bytes(name: str, data: memoryview) -> list[bytes | str]:
    elements: list[bytes | str] = []
    place = 0
    while place < len(data):
        if place + 4 > len(data):
            raise MalformedError(f"{name} ends in the middle of a length")
        (size,) = struct.unpack_from("<I", data, place)
        place += 4
        if size > len(data) - place:
            raise MalformedError(f"{name}: an element says it has {size} bytes, {len(data) - place} are left")
        elements.append(bytes(data[place : place + size]))
        place += size
    return elements


def _flat(name: str, data: Any) -> list[bytes | str]:
    """Strings of nested lists, in order."""
    elements: list[bytes | str] = []
    waiting = [_list(f"data of {name}", data)]
    while waiting:
        level = waiting.pop()
        if level and all(isinstance(item, list) for item in level):
            waiting.extend(reversed(level))
        elif all(isinstance(item, str) for item in level):
            elements.extend(level)
        else:
            raise MalformedError(f"data of {name} must be strings")
    return elements


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedError(f"{name} must be a list, got {type(value).__name__}")
    return value


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{name} must be an object, got {type(value).__name__}")
    return value


# Answers --------------------------------------------------------------------------------------------------------------


def write_response(
    model: str, version: str, request: InferRequest, outputs: Mapping[str, npt.NDArray[Any] | Sequence[Sequence[str]]]
) -> tuple[bytes, dict[str, str]]:
    """The body of a response and its headers.

    Parameters
    ----------
    model, version : str
    request : InferRequest
        Says which outputs are wanted, and how.
    outputs : mapping of str to array
        float32, or strings (object).

    Raises
    ------
    InputError
        If an output is wanted that there is not.
    """
    wanted = dict.fromkeys(outputs, request.binary) if request.outputs is None else request.outputs
    described, tail = [], []
    for name, binary in wanted.items():
        if name not in outputs:
            raise InputError(f"{model} has no output {name[:80]!r}; there are {', '.join(outputs)}")
        array = np.asarray(outputs[name])
        kind = "BYTES" if array.dtype == object else "FP32"
        entry: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(array.shape)}
        if binary:
            data = _to_bytes(array) if kind == "BYTES" else array.astype("<f4").tobytes()
            entry["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            entry["data"] = array.reshape(-1).tolist()
        described.append(entry)
    head = {"model_name": model, "model_version": version, "outputs": described}
    if request.id:
        head["id"] = request.id
    text = json.dumps(head, allow_nan=False).encode()
    if not tail:
        return text, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEADER: str(len(text))}
    return b"".join([text, *tail]), headers


def _to_bytes(array: npt.NDArray[Any]) -> bytes:
    encoded = (text.encode("utf-8", "backslashreplace") for text in array.reshape(-1).tolist())
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
