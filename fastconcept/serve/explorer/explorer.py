"""What the explorer knows of its photographs: levels of the hierarchy, maps, places and words, as documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import __version__
from ...bundle import find_bundle
from ...concepts.taxonomy import Taxonomy
from ...engine import Engine
from ...errors import ConceptError, InputError
from ...saliency.evidence import Evidence
from ...saliency.layout import OCCLUSION, Layout
from ...saliency.survey import SeenConcept, bank_scores, root_of
from ..service import Service
from .documents import described, jpeg, map_document, palette, seen_document
from .folder import Folder
from .levels import best_first
from .photographs import Photographs, list_photographs

MOST = 24  # concepts of one answer
LONGEST = 300  # characters of a concept


class Explorer:
    """The explorer over one engine.

    Parameters
    ----------
    service : Service
        Does the work and remembers what was made.
    paths : sequence of Path
        Photographs to begin with.
    layout : Layout
        How evidence is made; the page may ask for another mode.
    """

    def __init__(self, service: Service, paths: Sequence[Path] = (), layout: Layout = Layout()) -> None:
        self.service, self.engine, self.layout = service, service.engine, layout
        self.photographs = Photographs(service, list_photographs(paths) if paths else ())
        self.folder = Folder(self.engine, self.photographs.listed if len(self.photographs.listed) > 1 else ())

    def about(self) -> dict[str, Any]:
        """The model, the choices that the page offers, and the photographs to begin with."""
        parts, folder = self.engine.parts, self.folder
        return {
            "version": __version__,
            "model": self.engine.bundle.manifest.model,
            "bundle": None if self.engine.bundle.path == find_bundle(None) else str(self.engine.bundle.path),
            "concepts": len(self.engine.bank),
            "modes": modes_of(self.engine),
            "mode": self.layout.mode,
            "phrases": parts.has("text_encoder"),
            "words": parts.has("dictionary") and parts.has("image_mean"),
            "l1_penalty": self.engine.l1_penalty,
            "palette": palette(),
            "photographs": [
                {"id": photograph.digest, "name": photograph.name} for photograph in self.photographs.listed
            ],
            "folder": {"count": folder.count, "done": folder.done, "ready": folder.embedded is not None},
            "max_upload": self.service.limits.max_body << 20,
        }

    async def photograph(self, digest: str) -> dict[str, Any]:
        """Size of a photograph."""
        height, width, _ = (await self.photographs.pixels(digest)).shape
        return {"id": digest, "width": width, "height": height}

    async def picture(self, digest: str, side: int) -> bytes:
        """A photograph as JPEG, at most ``side`` pixels on a side."""
        pixels = await self.photographs.pixels(digest)
        store = self.service.store
        picture: bytes = await self.service.run(store.remember, "jpeg", (digest, side), lambda: jpeg(pixels, side))
        return picture

    async def evidence(self, digest: str, mode: str) -> Evidence:
        """Evidence of a photograph.

        Raises
        ------
        InputError
            If the model does not have the mode.
        """
        if mode not in modes_of(self.engine):
            raise InputError(f"mode must be one of {', '.join(modes_of(self.engine))}; got {mode[:40]!r}")
        return await self.photographs.evidence(digest, replace(self.layout, mode=mode))

    async def level(self, digest: str, mode: str, below: str | None, first: int, top: int) -> dict[str, Any]:
        """Maps of the concepts one level below a concept, best first, and the way from it to the root.

        Parameters
        ----------
        digest, mode : str
        below : str or None
            None stands above all roots: the broadest level.
        first, top : int
            Which of the concepts of the level, in their order.
        """
        if not (0 <= first < 1 << 31 and 1 <= top <= MOST):
            raise InputError(f"first must not be negative and top from 1 to {MOST}, got {first} and {top}")
        evidence = await self.evidence(digest, mode)
        return await self.service.run(self._level, evidence, below, first, top)

    def _level(self, evidence: Evidence, below: str | None, first: int, top: int) -> dict[str, Any]:
        engine = self.engine
        bank = engine.bank
        node = None if below is None else root_of(bank, below)
        with engine.place:
            scores = bank_scores(evidence, bank, engine.prepared_bank, engine.kernels, engine.num_threads)
        rows = best_first(bank, node, scores)
        seen = scores.of(rows[first : first + top], bank)
        return {
            "below": None if node is None else self._named(bank.names[node]),
            "path": self._path(node),
            "count": len(rows),
            "first": first,
            "concepts": self._mapped(evidence, seen),
            **_made(evidence),
        }

    def _mapped(self, evidence: Evidence, seen: Sequence[SeenConcept]) -> list[dict[str, Any]]:
        maps = self.engine.read(evidence, [concept.name for concept in seen]) if seen else ()
        return [
            {**self._named(found.name), **seen_document(concept), **map_document(found)}
            for concept, found in zip(seen, maps, strict=True)
        ]

    def _named(self, name: str) -> dict[str, Any]:
        return {"name": name, **described(name, self.engine.bank)}

    def _path(self, node: int | None) -> list[dict[str, str]]:
        """A concept and those above it, the root first."""
        bank = self.engine.bank
        if node is None or bank.taxonomy is None:
            return []
        path = [bank.names[above] for above in reversed(bank.taxonomy.path_to_root(node))]
        return [{"name": name, "title": described(name, bank)["title"]} for name in path]

    async def maps(self, digest: str, mode: str, concepts: Sequence[str]) -> dict[str, Any]:
        """Maps of concepts by name, word or phrase, in this order."""
        if not 1 <= len(concepts) <= MOST or max(map(len, concepts)) > LONGEST:
            raise InputError(f"ask for 1 to {MOST} concepts of at most {LONGEST} characters, got {len(concepts)}")
        evidence = await self.evidence(digest, mode)
        return await self.service.run(self._maps, evidence, list(concepts))

    def _maps(self, evidence: Evidence, concepts: list[str]) -> dict[str, Any]:
        seen = self.engine.read(evidence, concepts)
        documents = [{**self._named(found.name), **map_document(found)} for found in seen]
        paths = [self._path(self._row(found.name)) for found in seen]
        documents = [{**document, "path": path} for document, path in zip(documents, paths, strict=True)]
        return {"concepts": documents, "options": {**seen.options}, **_made(evidence)}

    def _row(self, name: str) -> int | None:
        try:
            return self.engine.bank.resolve(name).index
        except ConceptError:
            return None

    async def place(self, digest: str, mode: str, x: float, y: float) -> dict[str, Any]:
        """Concepts that win at a place, best first; x and y in pixels of the photograph."""
        evidence = await self.evidence(digest, mode)
        seen = await self.service.run(self.engine.concepts, evidence, 6, place=(x, y))
        found = [{**self._named(concept.name), **seen_document(concept)} for concept in seen]
        return {"place": [x, y], "concepts": found, **_made(evidence)}

    async def words(self, digest: str, l1_penalty: float, without: Sequence[str]) -> dict[str, Any]:
        """Words of a photograph, and what is near it before and after words are taken out."""
        if len(without) > 100:
            raise InputError(f"at most 100 words can be taken out, got {len(without)}")
        whole = await self.photographs.embedding(digest)
        return await self.service.run(self._words, whole, l1_penalty, list(without))

    def _words(self, whole: npt.NDArray[np.float32], l1_penalty: float, without: list[str]) -> dict[str, Any]:
        words = self.engine.decompose(embeddings=whole, l1_penalty=l1_penalty)
        left = words.without(*without) if without else words
        document = {**words.to_dict(), "without": without, "cosine_left": left.cosine}
        embedded = self.folder.embedded
        if embedded is not None and embedded.photographs:
            document["around"] = {"with": embedded.around(words.embedding), "left": embedded.around(left.embedding)}
        return document

    async def search(self, text: str, limit: int = 10) -> dict[str, Any]:
        """Synsets by word, wnid or definition, those that the bank has first."""
        if len(text) > LONGEST:
            raise InputError(f"search for at most {LONGEST} characters, got {len(text)}")
        return await self.service.run(self._search, text, limit)

    def _search(self, text: str, limit: int) -> dict[str, Any]:
        wordnet, taxonomy = Taxonomy.builtin(), self.engine.bank.taxonomy
        found = []
        for node in wordnet.search(text, 3 * limit):
            known = taxonomy is not None and taxonomy.find(wordnet.names[node]) is not None
            found.append({**self._named(wordnet.names[node]), "in_bank": known})
        exact = text.strip().lower()
        found.sort(key=lambda entry: (exact not in [word.lower() for word in entry["words"]], not entry["in_bank"]))
        return {"search": text, "concepts": found[:limit]}


def modes_of(engine: Engine) -> list[str]:
    """The modes that a model can run and that say what is at a place, the quickest first.

    Examples
    --------
    >>> import fastconcept as fc
    >>> modes_of(fc.load())
    ['windows', 'crops']
    """
    modes = (mode for mode in engine.parts.modes if mode != OCCLUSION)
    return sorted(modes, key=lambda mode: (mode == "crops", mode != "windows"))


def _made(evidence: Evidence) -> dict[str, Any]:
    """How evidence was made, and how long it took."""
    return {"mode": evidence.layout.mode, "timings_ms": {k: round(v, 1) for k, v in evidence.timings_ms.items()}}
