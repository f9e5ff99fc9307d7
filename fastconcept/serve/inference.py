"""The open inference protocol (KServe v2): the engine's methods as models, for clients such as tritonclient."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import __version__
from ..errors import InputError
from ..saliency.layout import Layout
from ..saliency.reading import Reading
from .answers import Document
from .api import LAYOUT, READING, SPARSITY, SURVEY, together
from .forms import Photograph, photograph, read_base64
from .keywords import Keyword
from .refusals import DrainingError, RefusedError
from .service import Service
from .tensors import HEADER, InferRequest, read_request, write_response

VERSION = "1"
_RESERVED = ("binary_data_output", "timeout", "priority", "sequence_id", "sequence_start", "sequence_end")
Outputs = dict[str, Any]


class UnknownModelError(RefusedError):
    """A model that this server does not have."""

    status = 404


@dataclass(frozen=True)
class Tensor:
    """An input or output: a name, ``"BYTES"`` or ``"FP32"``, and a shape in which -1 is any number."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def described(self) -> dict[str, Any]:
        """As the protocol has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Model:
    """A method of the engine as a model.

    Attributes
    ----------
    name : str
    inputs, outputs : tuple of Tensor
    keywords : dict of str to Keyword
        Parameters of a request.
    run : callable
        From the service, the elements of every input and the parameters to the outputs.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    keywords: dict[str, Keyword]
    run: Callable[[Service, dict[str, list[Any]], dict[str, Any]], Awaitable[Outputs]]

    def described(self, service: Service) -> dict[str, Any]:
        """Metadata of the model."""
        dim = service.engine.parts.embedding_dim
        outputs = [output.described() for output in self.outputs]
        for output in outputs:
            output["shape"] = [dim if side == 0 else side for side in output["shape"]]
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": "fastconcept",
            "inputs": [tensor.described() for tensor in self.inputs],
            "outputs": outputs,
            "parameters": {name: keyword.schema for name, keyword in self.keywords.items()},
        }

    def options(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Keywords of the engine from the parameters of a request, where lists are texts with commas.

        Raises
        ------
        InputError
            If one is unknown or has the wrong type.
        """
        options = {}
        for name, value in parameters.items():
            if name in _RESERVED:
                continue
            keyword = self.keywords.get(name)
            if keyword is None:
                known = ", ".join(self.keywords) or "none"
                raise InputError(f"{self.name} has no parameter {name[:80]!r}; there are {known}")
            options[name] = keyword.checked(keyword.of_text(value) if isinstance(value, str) else value)
        return options


# Models ---------------------------------------------------------------------------------------------------------------


def _photographs(service: Service, elements: list[Any]) -> list[Photograph]:
    if not 0 < len(elements) <= service.limits.max_images:
        raise InputError(f"IMAGE must hold from 1 to {service.limits.max_images} photographs, got {len(elements)}")
    contents = (
        item if isinstance(item, bytes) else read_base64(f"IMAGE[{i}]", item) for i, item in enumerate(elements)
    )
    return [photograph(index, content) for index, content in enumerate(contents)]


def _texts(service: Service, name: str, elements: list[Any], most: int) -> list[str]:
    if not 0 < len(elements) <= most:
        raise InputError(f"{name} must hold from 1 to {most} texts, got {len(elements)}")
    try:
        return [item.decode() if isinstance(item, bytes) else item for item in elements]
    except UnicodeDecodeError as error:
        raise InputError(f"{name} must be UTF-8: {error}") from None


async def _embed(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    photographs = _photographs(service, inputs["IMAGE"])
    return {"EMBEDDING": np.stack(await together(service.embed(p.digest, p.content) for p in photographs))}


async def _embed_text(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    texts = _texts(service, "TEXT", inputs["TEXT"], service.limits.max_images)
    return {"EMBEDDING": await service.run(service.engine.encode_text, texts)}


async def _decompose(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    photographs = _photographs(service, inputs["IMAGE"])
    rows = np.stack(await together(service.embed(p.digest, p.content) for p in photographs))

    def solve() -> Outputs:
        codes = list(service.engine.decompose(embeddings=rows, **options))
        width = max(code.l0 for code in codes)
        words, weights = np.full((len(codes), width), "", object), np.zeros((len(codes), width), np.float32)
        for index, code in enumerate(codes):
            for place, (word, weight) in enumerate(code.top()):
                words[index, place], weights[index, place] = word, weight
        return {"WORDS": words, "WEIGHTS": weights, "COSINE": np.array([code.cosine for code in codes], np.float32)}

    return await service.run(solve)


async def _explain(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    (image,) = _one(_photographs(service, inputs["IMAGE"]))
    concepts = _texts(service, "CONCEPTS", inputs["CONCEPTS"], service.limits.max_concepts)
    layout = Layout(**{name: value for name, value in options.items() if name in LAYOUT})
    reading = Reading(**{name: value for name, value in options.items() if name in READING})
    if not service.store.has_evidence(image.digest, layout):
        await service.run(service.check, "explain", concepts=concepts, **options)
    evidence = await service.evidence(image.digest, layout, image.content)
    seen = await service.run(service.explained, evidence, concepts, reading)
    return {
        "MAPS": seen.maps,
        "SCORES": np.array([concept.score for concept in seen], np.float32),
        "BOXES": np.array([concept.box() for concept in seen], np.float32),
        "NAMES": _strings([concept.name for concept in seen]),
    }


async def _concepts(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    (image,) = _one(_photographs(service, inputs["IMAGE"]))
    layout = Layout(**{name: value for name, value in options.items() if name in LAYOUT})
    survey = {name: value for name, value in options.items() if name in SURVEY}
    await service.run(service.check, "concepts", **survey)
    evidence = await service.evidence(image.digest, layout, image.content)
    seen = await service.run(lambda: service.engine.concepts(evidence, **survey))
    return {"NAMES": _strings(seen.names), "SCORES": np.array([concept.score for concept in seen], np.float32)}


def _one(photographs: list[Photograph]) -> list[Photograph]:
    if len(photographs) != 1:
        raise InputError(f"IMAGE must hold one photograph, got {len(photographs)}")
    return photographs


def _strings(values: list[str]) -> npt.NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


_IMAGES, _ROWS = Tensor("IMAGE", "BYTES", (-1,)), Tensor("EMBEDDING", "FP32", (-1, 0))  # 0: the model's dimension
_NAMES, _SCORES = Tensor("NAMES", "BYTES", (-1,)), Tensor("SCORES", "FP32", (-1,))
_ONE_IMAGE = Tensor("IMAGE", "BYTES", (1,))
MODELS = {
    model.name: model
    for model in (
        Model("embed", (_IMAGES,), (_ROWS,), {}, _embed),
        Model("embed_text", (Tensor("TEXT", "BYTES", (-1,)),), (_ROWS,), {}, _embed_text),
        Model(
            "decompose",
            (_IMAGES,),
            (
                Tensor("WORDS", "BYTES", (-1, -1)),
                Tensor("WEIGHTS", "FP32", (-1, -1)),
                Tensor("COSINE", "FP32", (-1,)),
            ),
            SPARSITY,
            _decompose,
        ),
        Model(
            "explain",
            (_ONE_IMAGE, Tensor("CONCEPTS", "BYTES", (-1,))),
            (Tensor("MAPS", "FP32", (-1, -1, -1)), _SCORES, Tensor("BOXES", "FP32", (-1, 4)), _NAMES),
            {**LAYOUT, **READING},
            _explain,
        ),
        Model("concepts", (_ONE_IMAGE,), (_NAMES, _SCORES), {**SURVEY, **LAYOUT}, _concepts),
    )
}


# Routes ---------------------------------------------------------------------------------------------------------------


def _model(request: Request) -> Model:
    name, version = request.path_params["model"], request.path_params.get("version", VERSION)
    if name not in MODELS or version != VERSION:
        raise UnknownModelError(f"no model {name[:80]!r} of version {version[:20]}; there are {', '.join(MODELS)}")
    return MODELS[name]


async def _infer(request: Request) -> Response:
    service, model = request.app.state.service, _model(request)
    asked = read_request(await request.body(), request.headers.get(HEADER))
    _check_inputs(model, asked)
    options = model.options(asked.parameters)
    outputs = await model.run(service, asked.inputs, options)
    body, headers = await service.run(write_response, model.name, VERSION, asked, outputs)
    return Response(body, headers=headers)


def _check_inputs(model: Model, asked: InferRequest) -> None:
    names = [tensor.name for tensor in model.inputs]
    if sorted(asked.inputs) != sorted(names):
        raise InputError(f"{model.name} takes {' and '.join(names)}, got {', '.join(asked.inputs)[:200] or 'nothing'}")
    for name, shape in asked.shapes.items():
        if len(shape) > 2 or (len(shape) == 2 and 1 not in shape):
            raise InputError(f"{name} must have one axis, got the shape {shape}")


async def _server(request: Request) -> Response:
    return Document({"name": "fastconcept", "version": __version__, "extensions": ["binary_tensor_data"]})


async def _metadata(request: Request) -> Response:
    return Document(_model(request).described(request.app.state.service))


async def _live(request: Request) -> Response:
    return Response()


async def _ready(request: Request) -> Response:
    if "model" in request.path_params:
        _model(request)
    if request.app.state.service.draining:
        raise DrainingError("the server is shutting down")
    return Response()


def routes() -> list[BaseRoute]:
    """All routes under ``/v2``."""
    found: list[BaseRoute] = [
        Route("/v2", _server),
        Route("/v2/health/live", _live),
        Route("/v2/health/ready", _ready),
    ]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            Route(path, _metadata),
            Route(f"{path}/ready", _ready),
            Route(f"{path}/infer", _infer, methods=["POST"]),
        ]
    return found
