"""The open inference protocol (KServe v2): the engine's methods as models, for clients such as tritonclient."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import __version__
from ..errors import InputError
from ..protocol.keywords import LAYOUT, READING, SURVEY
from ..protocol.models import MODELS, Model, Outputs, Tensor, of_codes, of_explanation, of_rows, of_survey
from ..saliency.layout import Layout
from ..saliency.reading import Reading
from .answers import Document
from .api import together
from .forms import Photograph, photograph, read_base64
from .refusals import DrainingError, RefusedError
from .service import Service
from .tensors import HEADER, InferRequest, read_request, write_response

VERSION = "1"
Run = Callable[[Service, dict[str, list[Any]], dict[str, Any]], Awaitable[Outputs]]


class UnknownModelError(RefusedError):
    """A model that this server does not have."""

    status = 404


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
    return of_rows(np.stack(await together(service.embed(p.digest, p.content) for p in photographs)))


async def _embed_text(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    texts = _texts(service, "TEXT", inputs["TEXT"], service.limits.max_images)
    return of_rows(await service.run(service.engine.encode_text, texts))


async def _decompose(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    photographs = _photographs(service, inputs["IMAGE"])
    solved = await together(service.decompose(p.digest, p.content, **options) for p in photographs)
    return await service.run(of_codes, [each.code for each in solved])


async def _explain(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    (image,) = _one(_photographs(service, inputs["IMAGE"]))
    concepts = _texts(service, "CONCEPTS", inputs["CONCEPTS"], service.limits.max_concepts)
    layout = Layout(**{name: value for name, value in options.items() if name in LAYOUT})
    reading = Reading(**{name: value for name, value in options.items() if name in READING})
    if not service.store.has_evidence(image.digest, layout):
        await service.run(service.check, "explain", concepts=concepts, **options)
    evidence = await service.evidence(image.digest, layout, image.content)
    run = service.run if reading.aggregate == "best-then-mean" else service.run_slowly
    return of_explanation(await run(service.explained, evidence, concepts, reading))


async def _concepts(service: Service, inputs: dict[str, list[Any]], options: dict[str, Any]) -> Outputs:
    (image,) = _one(_photographs(service, inputs["IMAGE"]))
    layout = Layout(**{name: value for name, value in options.items() if name in LAYOUT})
    survey = {name: value for name, value in options.items() if name in SURVEY}
    await service.run(service.check, "concepts", **survey)
    evidence = await service.evidence(image.digest, layout, image.content)
    return of_survey(await service.run(lambda: service.engine.concepts(evidence, **survey)))


def _one(photographs: list[Photograph]) -> list[Photograph]:
    if len(photographs) != 1:
        raise InputError(f"IMAGE must hold one photograph, got {len(photographs)}")
    return photographs


_RUN: dict[str, Run] = {
    "embed": _embed,
    "embed_text": _embed_text,
    "decompose": _decompose,
    "explain": _explain,
    "concepts": _concepts,
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
    outputs = await _RUN[model.name](service, asked.inputs, options)
    body, headers = await service.run(write_response, model.name, VERSION, asked, outputs)
    return Response(body, headers=headers)


def _check_inputs(model: Model, asked: InferRequest) -> None:
    names = [tensor.name for tensor in model.inputs]
    if sorted(asked.inputs) != sorted(names):
        raise InputError(f"{model.name} takes {' and '.join(names)}, got {', '.join(asked.inputs)[:200] or 'nothing'}")
    for name, shape in asked.shapes.items():
        if len(shape) > 2 or (len(shape) == 2 and 1 not in shape):  # [n] and [n, 1] are the same here
            raise InputError(f"{name} must have one axis, got the shape {shape}")


async def _server(request: Request) -> Response:
    return Document({"name": "fastconcept", "version": __version__, "extensions": ["binary_tensor_data"]})


async def _metadata(request: Request) -> Response:
    return Document(_described(_model(request), request.app.state.service))


def _described(model: Model, service: Service) -> dict[str, Any]:
    dim = service.engine.parts.embedding_dim

    def tensors(found: tuple[Tensor, ...]) -> list[dict[str, Any]]:
        return [{"name": t.name, "datatype": t.datatype, "shape": t.sides(dim)} for t in found]

    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": "fastconcept",
        "inputs": tensors(model.inputs),
        "outputs": tensors(model.outputs),
        "parameters": {name: keyword.schema for name, keyword in model.keywords.items()},
    }


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
