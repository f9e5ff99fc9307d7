"""What Triton's Python backend runs: one method of an engine as a model.

Each model of a repository has a ``model.py`` that imports :class:`TritonPythonModel` from here; its ``config.pbtxt``
says which bundle, device and method it stands for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine import Engine, load
from ...errors import FastconceptError, ImageError, InputError
from ...protocol.keywords import LAYOUT, READING, SURVEY
from ...protocol.models import MODELS, Model, Outputs, of_codes, of_explanation, of_rows, of_survey


@dataclass(frozen=True)
class Asked:
    """One request: elements of every input, and its parameters."""

    inputs: dict[str, list[bytes]]
    parameters: dict[str, Any]


def answers(engine: Engine, model: Model, requests: Sequence[Asked]) -> list[Outputs | FastconceptError]:
    """The outputs of several requests, or why one has none; photographs of all of them are encoded together.

    Examples
    --------
    >>> import fastconcept as fc
    >>> asked = Asked({"IMAGE": [b"not an image"]}, {})
    >>> answers(fc.load(), MODELS["embed"], [asked])                            # doctest: +ELLIPSIS
    [ImageError('the image is not an image of a format that is read here: ...')]
    """
    if model.name in ("embed", "decompose"):
        return _of_whole_images(engine, model, requests)
    return [_attempt(engine, model, asked) for asked in requests]


def _of_whole_images(engine: Engine, model: Model, requests: Sequence[Asked]) -> list[Outputs | FastconceptError]:
    images = [image for asked in requests for image in asked.inputs["IMAGE"]]
    rows: list[Any] = [None] * len(images)

    def note(position: int, error: ImageError) -> None:
        rows[position] = error

    for batch, positions in engine.encode_batches(images, on_error=note):
        for row, position in zip(batch, positions, strict=True):
            rows[position] = row
    found: list[Outputs | FastconceptError] = []
    for asked in requests:
        own, rows = rows[: len(asked.inputs["IMAGE"])], rows[len(asked.inputs["IMAGE"]) :]
        found.append(_of_rows(engine, model, own, asked))
    return found


def _of_rows(engine: Engine, model: Model, rows: list[Any], asked: Asked) -> Outputs | FastconceptError:
    wrong = next((row for row in rows if isinstance(row, FastconceptError)), None)
    if wrong is not None:
        return wrong
    try:
        options = model.options(asked.parameters)
        if model.name == "embed":
            return of_rows(np.stack(rows))
        return of_codes([*engine.decompose(embeddings=np.stack(rows), **options)])
    except FastconceptError as error:
        return error


def _attempt(engine: Engine, model: Model, asked: Asked) -> Outputs | FastconceptError:
    try:
        return _METHODS[model.name](engine, asked, model.options(asked.parameters))
    except FastconceptError as error:
        return error


def _embed_text(engine: Engine, asked: Asked, options: dict[str, Any]) -> Outputs:
    return of_rows(engine.encode_text(_texts("TEXT", asked)))


def _explain(engine: Engine, asked: Asked, options: dict[str, Any]) -> Outputs:
    return of_explanation(engine.explain(_image(asked), _texts("CONCEPTS", asked), **options))


def _concepts(engine: Engine, asked: Asked, options: dict[str, Any]) -> Outputs:
    return of_survey(engine.concepts(_image(asked), **options))


_METHODS = {"embed_text": _embed_text, "explain": _explain, "concepts": _concepts}
assert {*LAYOUT, *READING} == set(MODELS["explain"].keywords) and set(SURVEY) < set(MODELS["concepts"].keywords)


def _texts(name: str, asked: Asked) -> list[str]:
    try:
        return [text.decode() for text in asked.inputs[name]]
    except UnicodeDecodeError as error:
        raise InputError(f"{name} must be UTF-8: {error}") from None


def _image(asked: Asked) -> bytes:
    images = asked.inputs["IMAGE"]
    if len(images) != 1:
        raise InputError(f"IMAGE must hold one photograph, got {len(images)}")
    return images[0]


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, Any]) -> None:
        """Open the engine that the configuration names."""
        config = json.loads(args["model_config"])
        said = {name: entry["string_value"] for name, entry in config["parameters"].items()}
        device = said["device"]
        if device == "cuda":
            device = f"cuda:{args['model_instance_device_id']}"
        self._model = MODELS[said["method"]]
        self._engine = load(said["bundle"] or None, device=device)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests that Triton has put together."""
        import triton_python_backend_utils as triton

        asked = [self._asked(triton, request) for request in requests]
        responses = []
        for outputs in answers(self._engine, self._model, asked):
            if isinstance(outputs, FastconceptError):
                error = triton.TritonError(str(outputs), triton.TritonError.INVALID_ARG)
                responses.append(triton.InferenceResponse(error=error))
            else:
                tensors = [triton.Tensor(name, _as_sent(array)) for name, array in outputs.items()]
                responses.append(triton.InferenceResponse(tensors))
        return responses

    def _asked(self, triton: Any, request: Any) -> Asked:
        inputs = {
            tensor.name: triton.get_input_tensor_by_name(request, tensor.name).as_numpy().reshape(-1).tolist()
            for tensor in self._model.inputs
        }
        return Asked(inputs, json.loads(request.parameters() or "{}"))


def _as_sent(array: Any) -> Any:
    """Texts as bytes, which is how Triton wants them."""
    if array.dtype != object:
        return np.ascontiguousarray(array)
    coded = np.empty(array.shape, object)
    for place, text in np.ndenumerate(array):
        coded[place] = text.encode("utf-8", "backslashreplace")
    return coded
