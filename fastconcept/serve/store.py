"""What a server remembers of photographs, by the hash of their files: pixels, evidence, embeddings and answers."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine import Engine
from ..saliency.evidence import Evidence
from ..saliency.layout import Layout
from ..saliency.reading import kept_rows
from .lru import Lru
from .refusals import UnknownImageError

Observe = Callable[[str, bool], None]  # kind of value, and whether it was remembered


def digest_of(content: bytes) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def size_of(value: Any) -> int:
    """About how many bytes a value takes.

    Examples
    --------
    >>> size_of(np.zeros((10, 10), np.float32)) > 400
    True
    """
    if hasattr(value, "nbytes"):
        return int(value.nbytes) + 200
    if isinstance(value, dict):
        return sys.getsizeof(value) + sum(size_of(item) for pair in value.items() for item in pair)
    if isinstance(value, (list, tuple)):
        return sys.getsizeof(value) + sum(map(size_of, value))
    return sys.getsizeof(value)


class Store:
    """Photographs that were sent before, and what was made of them; the least recently used goes first.

    Everything here blocks and may be called by several threads at once; what two of them ask for is made once.

    Parameters
    ----------
    engine : Engine
    max_bytes : int
        Bytes of all that is remembered, together.
    observe : callable, optional
        Called with the kind of what is looked up (``"image"``, ``"evidence"``, ...) and whether it was there.
    """

    def __init__(self, engine: Engine, max_bytes: int, observe: Observe = lambda kind, hit: None) -> None:
        self.engine, self.memory, self._observe = engine, Lru(max_bytes), observe

    def add(self, content: bytes) -> str:
        """Decode a photograph, remember its pixels and return its hash, which names it from now on.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        digest = digest_of(content)
        self.image(digest, content)
        return digest

    def image(self, digest: str, content: bytes | None = None) -> npt.NDArray[np.uint8]:
        """Pixels of a photograph, (H, W, 3) uint8; ``content`` is its file, if that is at hand.

        Raises
        ------
        UnknownImageError
            If it was never sent, or is forgotten, and there is no content.
        ImageError
            If the content cannot be read.
        """
        if content is not None:
            return self.remember("image", digest, lambda: self.engine.load_image(content))  # type: ignore[no-any-return]
        pixels = self.known("image", digest)
        if pixels is None:
            raise UnknownImageError(f"no photograph with the hash {digest[:80]} is remembered; send it again")
        return pixels  # type: ignore[no-any-return]

    def evidence(self, digest: str, layout: Layout = Layout(), content: bytes | None = None) -> Evidence:
        """Evidence of a photograph; errors as :meth:`image` and :meth:`fastconcept.Engine.evidence`."""

        def make() -> Evidence:
            engine = self.engine
            evidence = engine.evidence(self.image(digest, content), **vars(layout))
            if engine.parts.has("bank"):
                with engine.place:  # now, so that it counts as part of its size
                    kept_rows(evidence, engine.prepared_bank, engine.kernels, engine.num_threads)
            return evidence

        return self.remember("evidence", (digest, layout), make)  # type: ignore[no-any-return]

    def has_evidence(self, digest: str, layout: Layout = Layout()) -> bool:
        """Whether evidence of a photograph is remembered; it counts as a use of it."""
        return self.memory.get(("evidence", (digest, layout))) is not None

    def known(self, kind: str, key: Hashable) -> Any:
        """A value that is remembered, or None; it counts as a lookup and as a use."""
        value = self.memory.get((kind, key))
        self._observe(kind, value is not None)
        return value

    def put(self, kind: str, key: Hashable, value: Any, size: int) -> None:
        """Remember a value of ``size`` bytes."""
        self.memory.put((kind, key), value, size)

    def remember(self, kind: str, key: Hashable, make: Callable[[], Any]) -> Any:
        """A value of any kind, made if it is not remembered; see :meth:`.lru.Lru.remember`."""
        made: list[bool] = []

        def noted() -> Any:
            made.append(True)
            return make()

        value = self.memory.remember((kind, key), noted, size_of)
        self._observe(kind, not made)
        return value
