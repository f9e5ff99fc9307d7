"""The embeddings of a folder of photographs: what is near an embedding, and which class is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...engine import Engine
from ...evaluate.zeroshot import class_embeddings
from .photographs import Photograph

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """Rows of the photographs that could be read, and of the classes that they are in.

    Attributes
    ----------
    photographs : list of Photograph
        n of them.
    rows : (n, d) float32, unit rows
    classes : list of str
        k names; empty where the folder has no classes.
    prompts : (k, d) float32, unit rows
        Embeddings of ``a photo of a NAME``.
    """

    photographs: list[Photograph]
    rows: FloatArray
    classes: list[str]
    prompts: FloatArray

    def around(self, embedding: FloatArray, top: int = 6) -> dict[str, Any]:
        """The nearest photographs and, of the classes, the best ones, with cosines; best first."""
        near = self.rows @ embedding
        order = np.argsort(-near, kind="stable")[:top].tolist()
        classes = self.prompts @ embedding
        best = np.argsort(-classes, kind="stable")[:3].tolist()
        return {
            "nearest": [
                {"id": self.photographs[k].digest, "name": self.photographs[k].name, "cosine": float(near[k])}
                for k in order
            ],
            "classes": [{"name": self.classes[k], "cosine": float(classes[k])} for k in best],
        }


class Folder:
    """Photographs that are embedded in the background, while the page is used already.

    Parameters
    ----------
    engine : Engine
    photographs : sequence of Photograph
    """

    def __init__(self, engine: Engine, photographs: Sequence[Photograph]) -> None:
        self._engine, self._photographs = engine, list(photographs)
        self.done, self.count, self.embedded = 0, len(self._photographs), None if photographs else _nothing(engine)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._embed, name="fastconcept-folder", daemon=True)

    def start(self) -> None:
        """Begin to embed."""
        if self.count:
            self._thread.start()

    def close(self) -> None:
        """Stop, after the batch that is being embedded."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _embed(self) -> None:
        rows: list[FloatArray] = []
        kept: list[int] = []
        batches = self._engine.encode_batches(
            (photograph.path for photograph in self._photographs), on_error=lambda position, error: None
        )
        for batch, positions in batches:
            rows.append(batch)
            kept += positions
            self.done = max(positions, default=self.done) + 1
            if self._stop.is_set():
                return
        photographs = [self._photographs[position] for position in kept]
        classes = sorted({photograph.label for photograph in photographs if photograph.label is not None})
        if not photographs:
            self.embedded = _nothing(self._engine)
            return
        named = bool(classes) and self._engine.parts.has("text_encoder")
        prompts = class_embeddings(self._engine, classes) if named else _nothing(self._engine).prompts
        self.embedded = Embedded(photographs, np.concatenate(rows), classes if named else [], prompts)


def _nothing(engine: Engine) -> Embedded:
    none = np.empty((0, engine.parts.embedding_dim), np.float32)
    return Embedded([], none, [], none)
