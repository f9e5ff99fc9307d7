"""The photographs of an explorer: those of the command line, which are files, and those that the page sends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.images import distinct_names
from ...errors import ImageError
from ...saliency.evidence import Evidence
from ...saliency.layout import Layout
from ..refusals import UnknownImageError
from ..service import Service
from ..store import digest_of

MAX_FILE = 256 << 20  # bytes of one photograph on disk


@dataclass(frozen=True)
class Photograph:
    """A file of the command line.

    Attributes
    ----------
    digest : str
        SHA-256 of its content, in hexadecimal; by it the page names it.
    name : str
    path : Path
    label : str or None
        Directory that it lies in, where those are classes.
    """

    digest: str
    name: str
    path: Path
    label: str | None = None


class Photographs:
    """Photographs by name, in the memory of a service; files are read again when it has forgotten them.

    Parameters
    ----------
    service : Service
    listed : sequence of Photograph
        Those of the command line.
    """

    def __init__(self, service: Service, listed: Sequence[Photograph] = ()) -> None:
        self.service, self.listed = service, tuple(listed)
        self._paths = {photograph.digest: photograph.path for photograph in listed}

    def add(self, path: Path) -> str:
        """Read a file, remember its photograph and return its hash; errors as :func:`read_photograph`."""
        digest = self.service.store.add(read_photograph(path))
        self._paths[digest] = path
        return digest

    async def pixels(self, digest: str) -> npt.NDArray[np.uint8]:
        """Pixels of a photograph, (H, W, 3) uint8.

        Raises
        ------
        UnknownImageError
            If it was never sent, or is forgotten.
        ImageError
            If its file cannot be read any more.
        """
        store = self.service.store
        pixels: npt.NDArray[np.uint8] = await self._with_content(
            digest, lambda content: self.service.run(store.image, digest, content)
        )
        return pixels

    async def evidence(self, digest: str, layout: Layout) -> Evidence:
        """Evidence of a photograph; errors as :meth:`pixels`."""
        evidence: Evidence = await self._with_content(
            digest, lambda content: self.service.evidence(digest, layout, content)
        )
        return evidence

    async def embedding(self, digest: str) -> npt.NDArray[np.float32]:
        """Embedding of a whole photograph, (d,), which takes no evidence; errors as :meth:`pixels`."""
        row: npt.NDArray[np.float32] = await self._with_content(
            digest, lambda content: self.service.embed(digest, content)
        )
        return row

    async def _with_content(self, digest: str, ask: Callable[[bytes | None], Any]) -> Any:
        try:
            return await ask(None)
        except UnknownImageError:
            if digest not in self._paths:
                raise
        content = await self.service.run(self._content, digest)
        return await ask(content)

    def _content(self, digest: str) -> bytes:
        path = self._paths[digest]
        content = read_photograph(path)
        if digest_of(content) != digest:
            raise ImageError(f"{path} has changed since the explorer was opened; start it again")
        return content


def read_photograph(path: Path) -> bytes:
    """The content of a file.

    Raises
    ------
    ImageError
        If it cannot be read, or is larger than 256 MB.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise ImageError(f"{path} has {size:,} bytes; the explorer opens files of at most {MAX_FILE:,}")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from None


def list_photographs(paths: Sequence[Path]) -> list[Photograph]:
    """The photographs of files, each once; errors as :func:`read_photograph`."""
    names = distinct_names(paths)
    labels = [path.parent.name for path in paths]
    classes = len(set(labels)) > 1
    photographs: dict[str, Photograph] = {}
    for path, name, label in zip(paths, names, labels, strict=True):
        digest = digest_of(read_photograph(path))
        photographs.setdefault(digest, Photograph(digest, name, path, label if classes else None))
    return list(photographs.values())
