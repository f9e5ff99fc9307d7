"""The routes under ``/v1``: explain, concepts, decompose and embed, with the documents of the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import viz
from ..errors import InputError
from ..protocol.documents import about_images
from ..protocol.keywords import LAYOUT, READING, SPARSITY, SURVEY, Keyword
from ..saliency.layout import Layout
from ..saliency.reading import Reading
from . import forms
from .answers import Document
from .forms import Asked, Photograph
from .refusals import NotAcceptableError
from .service import Service

T = TypeVar("T")
JSON, PNG, NPY = "application/json", "image/png", "application/x-npy"
_BOX = Keyword("box", "int", 0, "1 draws the box of each concept into a picture.")


@dataclass(frozen=True)
class Method:
    """A route that asks the engine something.

    Attributes
    ----------
    name : str
        Last part of the path.
    answer : callable
        From the service, what was asked and the media type to the response.
    keywords : dict of str to Keyword
        Options.
    lists : tuple of str
        Which of ``"concepts"`` and ``"texts"`` it takes.
    media : tuple of str
        Media types of its answers, the preferred one first.
    summary : str
        For the OpenAPI document.
    """

    name: str
    answer: Callable[[Service, Asked, str], Awaitable[Response]]
    keywords: dict[str, Keyword]
    lists: tuple[str, ...]
    media: tuple[str, ...]
    summary: str

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        service: Service = request.app.state.service
        media = accepted(request.headers.get("accept", "*/*"), self.media)
        asked = await forms.read(request, self.keywords, self.lists, service.limits)
        if not asked.photographs and not ("texts" in self.lists and asked.texts):
            raise InputError("the request has no image; send one as a file named image")
        return await self.answer(service, asked, media)


def accepted(header: str, offered: Sequence[str]) -> str:
    """The media type of the answer: what the client prefers of what is offered.

    Raises
    ------
    NotAcceptableError
        If it accepts none of them.

    Examples
    --------
    >>> accepted("text/html, image/*;q=0.9, */*;q=0.1", ("application/json", "image/png"))
    'image/png'
    """

    def quality(media: str) -> float:
        best = (-1, 0.0)  # the most specific range counts
        for entry in header.split(","):
            wanted, *parameters = (part.strip().lower() for part in entry.split(";"))
            if wanted in (media, f"{media.partition('/')[0]}/*", "*/*", ""):
                given = next((p[2:] for p in parameters if p.startswith("q=")), "1")
                best = max(best, (len(wanted.replace("*", "")), _number(given)))
        return best[1]

    best = max(offered, key=quality)
    if quality(best) <= 0:
        raise NotAcceptableError(f"answers are {' or '.join(offered)}, not {header[:80]!r}")
    return best


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


# Answers --------------------------------------------------------------------------------------------------------------


async def explain(service: Service, asked: Asked, media: str) -> Response:
    """Maps of concepts, or of what is seen best: as boxes and scores, laid over the photograph, or as an array."""
    layout, reading, concepts = _layout(asked), Reading(**_some(asked, READING)), asked.concepts
    if media == NPY and len(asked.photographs) != 1:
        raise InputError(f"an array holds the maps of one photograph, got {len(asked.photographs)}")
    box = asked.options.get("box", 0)
    if not all(service.store.has_evidence(photograph.digest, layout) for photograph in asked.photographs):
        options = {**vars(layout), **reading.keywords()}  # an unknown name costs nothing but the error
        await service.run(service.check, "explain", concepts=concepts, **options)

    async def one(photograph: Photograph) -> Any:
        evidence = await service.evidence(photograph.digest, layout, photograph.content)
        key = (photograph.digest, layout, reading, None if concepts is None else tuple(concepts), media, box)

        def made() -> Any:
            explanation = service.explained(evidence, concepts, reading)
            if media == JSON:
                return explanation.to_dict()
            return explanation.maps if media == NPY else np.asarray(explanation.overlay(bool(box)))

        run = service.run if reading.aggregate == "best-then-mean" else service.run_slowly
        return await run(service.store.remember, "explanation", key, made)

    found = await together(one(photograph) for photograph in asked.photographs)
    if media == NPY:
        return Response(await service.run(_npy, found[0]), media_type=NPY)
    if media == PNG:
        return Response(await service.run(_strip, found), media_type=PNG)
    return _document(service, asked, found)


async def concepts(service: Service, asked: Asked, media: str) -> Response:
    """What the model sees, best first."""
    layout, options = _layout(asked), _some(asked, SURVEY)

    async def one(photograph: Photograph) -> Any:
        evidence = await service.evidence(photograph.digest, layout, photograph.content)
        key = (photograph.digest, layout, tuple(sorted((name, str(value)) for name, value in options.items())))

        def made() -> Any:
            return service.engine.concepts(evidence, **options).to_dict()

        return await service.run(service.store.remember, "concepts", key, made)

    await service.run(service.check, "concepts", **options)
    return _document(service, asked, await together(one(photograph) for photograph in asked.photographs))


async def decompose(service: Service, asked: Asked, media: str) -> Response:
    """The few words that add up to a photograph, or to a text."""
    options, began = _some(asked, SPARSITY), time.perf_counter()
    l1_penalty = service.engine.penalty(options.get("l1_penalty"), options.get("l0"))
    timings: dict[str, float] = {}
    solved = await together(service.decompose(p.digest, p.content, **options) for p in asked.photographs)
    timings["decompose"] = (time.perf_counter() - began) * 1e3
    if media == PNG:
        if asked.texts:
            raise InputError("pictures are made of photographs, not of texts")
        codes = [each.code for each in solved]
        return Response(await service.run(_charts, service, asked.photographs, codes), media_type=PNG)
    texts = await _of_texts(service, asked, lambda texts: list(service.engine.decompose(texts=texts, **options)))
    found = [each.document for each in solved]
    return _document(
        service, asked, found, device=False, l1_penalty=l1_penalty, timings_ms=timings, **texts_of(asked, texts)
    )


async def embed(service: Service, asked: Asked, media: str) -> Response:
    """Embeddings of photographs and texts, unit rows."""
    rows = await together(service.embed(p.digest, p.content) for p in asked.photographs)
    texts = await _of_texts(service, asked, lambda texts: list(service.engine.encode_text(texts)))
    if media == NPY:
        return Response(await service.run(_npy, np.stack([*rows, *texts])), media_type=NPY)
    found = [{"embedding": row.tolist()} for row in rows]
    return _document(service, asked, found, **texts_of(asked, [{"embedding": row.tolist()} for row in texts]))


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Results of several at once, in order; after the first error the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def texts_of(asked: Asked, answers: Sequence[Any]) -> dict[str, Any]:
    """The part of a document that is about texts; empty if none were sent."""
    if not asked.texts:
        return {}
    shown = (answer if isinstance(answer, dict) else answer.to_dict() for answer in answers)
    return {"texts": [{"text": text, **answer} for text, answer in zip(asked.texts, shown, strict=True)]}


async def _of_texts(service: Service, asked: Asked, make: Callable[[list[str]], list[Any]]) -> list[Any]:
    return await service.run(make, asked.texts) if asked.texts else []


def _some(asked: Asked, keywords: dict[str, Keyword]) -> dict[str, Any]:
    return {name: value for name, value in asked.options.items() if name in keywords}


def _layout(asked: Asked) -> Layout:
    return Layout(**_some(asked, LAYOUT))


def _document(service: Service, asked: Asked, answers: Iterable[Any], device: bool = True, **common: Any) -> Document:
    names = (photograph.name for photograph in asked.photographs)
    hashes = (f"sha256:{photograph.digest}" for photograph in asked.photographs)
    entries = ((name, {**answer, "hash": h}) for name, answer, h in zip(names, answers, hashes, strict=True))
    if device:
        common = {"device": service.engine.device, **common}
    return Document(about_images(service.name, entries, **common))


# Pictures and arrays --------------------------------------------------------------------------------------------------


def _npy(array: npt.NDArray[Any]) -> bytes:
    stream = BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _png(picture: Any) -> bytes:
    stream = BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _strip(pictures: Sequence[npt.NDArray[np.uint8]]) -> bytes:
    return _png(viz.strip([Image.fromarray(picture) for picture in pictures], per_row=1))


def _charts(service: Service, photographs: Sequence[Photograph], codes: Sequence[Any]) -> bytes:
    charts = [
        viz.bar_chart(
            code.top(12),
            f"{code.l0} words, cosine {code.cosine:.3f}",
            service.store.image(photograph.digest, photograph.content),
        )
        for photograph, code in zip(photographs, codes, strict=True)
    ]
    return _png(viz.strip(charts, per_row=1))


METHODS = (
    Method(
        "explain",
        explain,
        {**LAYOUT, **READING, "box": _BOX},
        ("concepts",),
        (JSON, PNG, NPY),
        "Where in a photograph is each concept? Without concepts, those that the model sees best.",
    ),
    Method("concepts", concepts, {**SURVEY, **LAYOUT}, (), (JSON,), "What does the model see in a photograph?"),
    Method(
        "decompose",
        decompose,
        SPARSITY,
        ("texts",),
        (JSON, PNG),
        "Which few words add up to the embedding of a photograph, or of a text?",
    ),
    Method("embed", embed, {}, ("texts",), (JSON, NPY), "Embeddings of photographs and texts."),
)


def routes() -> list[BaseRoute]:
    """All routes under ``/v1``."""
    return [Route(f"/v1/{method.name}", _endpoint(method), methods=["POST"], name=method.name) for method in METHODS]


def _endpoint(method: Method) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await method(request)

    return endpoint
