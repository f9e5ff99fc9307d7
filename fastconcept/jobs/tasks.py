"""What a job does with images: the methods of the engine, and the columns that each of them writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..engine import SHOWN_CONCEPTS, Engine
from ..errors import InputError
from ..kernels.host import to_host
from ..saliency.layout import Layout
from ..saliency.reading import Reading
from ..saliency.result import Explanation
from ..saliency.survey import SeenConcepts
from ..sparse.result import Decompositions
from .arrow import pyarrow

FloatArray = npt.NDArray[np.float32]
Failed = Callable[[int, InputError], object]
_PICTURE = np.full((224, 224, 3), 128, np.uint8)  # to try options on


class Answers(NamedTuple):
    """Results of some images.

    Attributes
    ----------
    positions : list of int
        Which of the images they belong to, ascending.
    columns : dict of str to pyarrow.Array
        One value per position, by the names of :meth:`Task.schema`.
    """

    positions: list[int]
    columns: dict[str, Any]


class Task(Protocol):
    """A method of the engine with its options.

    Attributes
    ----------
    verb : str
        Of the command line.
    shard_rows : int
        Rows of a shard by default: a few minutes of work.
    """

    verb: ClassVar[str]
    shard_rows: ClassVar[int]

    def options(self, engine: Engine) -> dict[str, Any]:
        """Plain values for the manifest."""
        ...

    def check(self, engine: Engine) -> None:
        """Raise what an impossible option or a missing part of the model would raise later, at no cost."""
        ...

    def schema(self, engine: Engine) -> list[tuple[str, Any]]:
        """Columns and their types, as pyarrow has them."""
        ...

    def answers(self, engine: Engine, images: Iterator[bytes], failed: Failed) -> Iterator[Answers]:
        """Results of images in order. One that cannot be used is handed to ``failed`` with its position and reason."""
        ...


def _embedding(engine: Engine) -> tuple[str, Any]:
    arrow = pyarrow()
    return "embedding", arrow.list_(arrow.float32(), engine.parts.embedding_dim)


def _embeddings(rows: FloatArray) -> dict[str, Any]:
    return {"embedding": pyarrow().FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])}


@dataclass(frozen=True)
class Embed:
    """The embedding of every image, ``embedding``: a list of d float32 of unit length."""

    verb: ClassVar[str] = "embed"
    shard_rows: ClassVar[int] = 10_000

    def options(self, engine: Engine) -> dict[str, Any]:
        """None."""
        return {}

    def check(self, engine: Engine) -> None:
        """A bundle without an image encoder is an error."""
        _ = engine.image_encoder

    def schema(self, engine: Engine) -> list[tuple[str, Any]]:
        """``embedding``."""
        return [_embedding(engine)]

    def answers(self, engine: Engine, images: Iterator[bytes], failed: Failed) -> Iterator[Answers]:
        """Batches as the engine encodes them."""
        for rows, positions in engine.encode_batches(images, on_error=failed):
            yield Answers(positions, _embeddings(rows))


@dataclass(frozen=True)
class Decompose:
    """The words of every image: ``words`` (by falling weight), ``l0``, ``cosine``, ``gap``, ``l1_penalty``.

    Parameters
    ----------
    l1_penalty, l0
        As for :meth:`fastconcept.Engine.decompose`.
    embeddings : bool
        Write ``embedding``, too.
    """

    l1_penalty: float | None = None
    l0: int | None = None
    embeddings: bool = False
    verb: ClassVar[str] = "decompose"
    shard_rows: ClassVar[int] = 10_000

    def options(self, engine: Engine) -> dict[str, Any]:
        """The penalty or the number of words."""
        return {"l1_penalty": engine.penalty(self.l1_penalty, self.l0), "l0": self.l0, "embeddings": self.embeddings}

    def check(self, engine: Engine) -> None:
        """A wrong penalty, or a bundle without dictionary, mean or image encoder, is an error."""
        _ = engine.image_encoder
        row = np.eye(1, engine.parts.embedding_dim, dtype=np.float32)
        engine.decompose(embeddings=row, l1_penalty=self.l1_penalty, l0=self.l0)

    def schema(self, engine: Engine) -> list[tuple[str, Any]]:
        """Words, and the numbers that say how well they fit."""
        arrow = pyarrow()
        words = arrow.list_(arrow.struct([("word", arrow.string()), ("weight", arrow.float64())]))
        numbers = [(name, arrow.float64()) for name in ("cosine", "gap", "l1_penalty")]
        columns = [("words", words), ("l0", arrow.int32()), *numbers]
        return [*columns, _embedding(engine)] if self.embeddings else columns

    def answers(self, engine: Engine, images: Iterator[bytes], failed: Failed) -> Iterator[Answers]:
        """Batches as the engine encodes them, decomposed."""
        for rows, positions in engine.encode_batches(images, on_error=failed):
            codes = engine.decompose(embeddings=rows, l1_penalty=self.l1_penalty, l0=self.l0)
            yield Answers(positions, _words(codes) | (_embeddings(rows) if self.embeddings else {}))


def _words(batch: Decompositions) -> dict[str, Any]:
    """Columns of decompositions; words of each by falling weight, as :meth:`Decomposition.top` has them."""
    arrow, codes = pyarrow(), batch.codes
    order = np.lexsort((-codes.values, codes.words.owners))  # stable: of equal weights the earlier word comes first
    words = arrow.array(batch.dictionary.words).take(arrow.array(codes.indices[order]))
    pairs = arrow.StructArray.from_arrays([words, arrow.array(codes.values[order])], names=["word", "weight"])
    return {
        "words": arrow.ListArray.from_arrays(arrow.array(codes.indptr.astype(np.int32)), pairs),
        "l0": arrow.array(batch.l0.astype(np.int32)),
        "cosine": arrow.array(batch.cosine),
        "gap": arrow.array(codes.gap),
        "l1_penalty": arrow.array(codes.l1_penalty),
    }


@dataclass(frozen=True)
class Explain:
    """Where concepts are in every image: ``concepts``, each with its box and scores; ``width``, ``height``.

    Parameters
    ----------
    concepts : sequence of str
        As for :meth:`fastconcept.Engine.explain`; without any, those that the model sees best in each image.
    layout, reading
        Which places of the image are embedded, and how they are read.
    embeddings : bool
        Write ``embedding``, too: that of the whole image.
    """

    concepts: Sequence[str] = ()
    layout: Layout = field(default_factory=Layout)
    reading: Reading = field(default_factory=Reading)
    embeddings: bool = False
    verb: ClassVar[str] = "explain"
    shard_rows: ClassVar[int] = 500

    def options(self, engine: Engine) -> dict[str, Any]:
        """Concepts, layout and reading."""
        asked = {"concepts": list(self.concepts), "embeddings": self.embeddings}
        return asked | _plain(self.layout) | _plain(self.reading)

    def check(self, engine: Engine) -> None:
        """An unknown concept, or a mode that the model does not have, is an error."""
        _explained(engine, _PICTURE, replace(self, layout=_one_patch(self.layout)))

    def schema(self, engine: Engine) -> list[tuple[str, Any]]:
        """Size of the image, and what is known of each concept in it."""
        arrow = pyarrow()
        number = arrow.float64()
        concept = [("concept", arrow.string()), ("name", arrow.string()), ("score", number), ("rank", arrow.int64())]
        concept += [("similarity", number), ("constant", arrow.bool_()), ("box", arrow.list_(number, 4))]
        columns = [
            ("width", arrow.int32()),
            ("height", arrow.int32()),
            ("concepts", arrow.list_(arrow.struct(concept))),
        ]
        return [*columns, _embedding(engine)] if self.embeddings else columns

    def answers(self, engine: Engine, images: Iterator[bytes], failed: Failed) -> Iterator[Answers]:
        """One image after the other."""
        engine = _remembering(engine)
        types = dict(self.schema(engine))
        for position, image in enumerate(images):
            try:
                seen, whole = _explained(engine, image, self)
            except InputError as error:
                failed(position, error)
                continue
            height, width = seen.concepts[0].view.image.shape[:2]
            concepts = [{**concept.to_dict(), "box": concept.box()} for concept in seen]
            yield _one(position, types, {"width": width, "height": height, "concepts": concepts}, whole)


def _explained(engine: Engine, image: Any, task: Explain) -> tuple[Explanation, FloatArray]:
    evidence = engine.evidence(image, **vars(task.layout))
    concepts = list(task.concepts) or engine.concepts(evidence, SHOWN_CONCEPTS).names
    return engine.read(evidence, concepts, **task.reading.keywords()), to_host(evidence.whole)


@dataclass(frozen=True)
class Concepts:
    """What the model sees in every image: ``concepts``, best first, each with its name and scores.

    Parameters
    ----------
    top, below
        As for :meth:`fastconcept.Engine.concepts`.
    layout : Layout
        Which places of the image are embedded.
    embeddings : bool
        Write ``embedding``, too: that of the whole image.
    """

    top: int = 10
    below: str | None = None
    layout: Layout = field(default_factory=Layout)
    embeddings: bool = False
    verb: ClassVar[str] = "concepts"
    shard_rows: ClassVar[int] = 500

    def options(self, engine: Engine) -> dict[str, Any]:
        """Number and kind of the concepts, and the layout."""
        return {"top": self.top, "below": self.below, "embeddings": self.embeddings} | _plain(self.layout)

    def check(self, engine: Engine) -> None:
        """An unknown concept, or a mode that the model does not have, is an error."""
        _seen(engine, _PICTURE, replace(self, layout=_one_patch(self.layout)))

    def schema(self, engine: Engine) -> list[tuple[str, Any]]:
        """What is known of each concept."""
        arrow = pyarrow()
        number = arrow.float64()
        concept = [("name", arrow.string()), ("score", number), ("rank", arrow.int64()), ("similarity", number)]
        columns = [("concepts", arrow.list_(arrow.struct([*concept, ("patches", number)])))]
        return [*columns, _embedding(engine)] if self.embeddings else columns

    def answers(self, engine: Engine, images: Iterator[bytes], failed: Failed) -> Iterator[Answers]:
        """One image after the other."""
        types = dict(self.schema(engine))
        for position, image in enumerate(images):
            try:
                seen, whole = _seen(engine, image, self)
            except InputError as error:
                failed(position, error)
                continue
            yield _one(position, types, {"concepts": [asdict(concept) for concept in seen]}, whole)


def _seen(engine: Engine, image: Any, task: Concepts) -> tuple[SeenConcepts, FloatArray]:
    evidence = engine.evidence(image, **vars(task.layout))
    return engine.concepts(evidence, task.top, task.below), to_host(evidence.whole)


def _one(position: int, types: Mapping[str, Any], values: Mapping[str, Any], whole: FloatArray) -> Answers:
    """The answer about one image; of its values, those that are columns."""
    arrow = pyarrow()
    columns = {name: arrow.array([value], types[name]) for name, value in values.items()}
    return Answers([position], columns | (_embeddings(whole) if "embedding" in types else {}))


def _one_patch(layout: Layout) -> Layout:
    """The quickest layout of the same mode."""
    return replace(layout, sizes=(224,), stride=224, border="inside", short_side=224)


def _plain(options: Layout | Reading) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}


def _remembering(engine: Engine) -> Engine:
    """The same engine, which encodes equal texts once: phrases are asked for with every image."""
    if not engine.parts.has("text_encoder"):
        return engine
    return Engine(engine.parts.replace(text_encoder=_RememberedTexts(engine.text_encoder)))


class _RememberedTexts:
    def __init__(self, encoder: Any) -> None:
        self._encoder, self._rows = encoder, dict[tuple[str, ...], Any]()
        self.tokenizer = getattr(encoder, "tokenizer", None)

    def encode(self, texts: Sequence[str]) -> Any:
        key = tuple(texts)
        if key not in self._rows:
            self._rows[key] = self._encoder.encode(texts)
        return self._rows[key]
