"""What explain returns: one map per concept, with its box, its score and its picture."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from .. import viz
from ..doors import door, position
from ..errors import ConceptError, InputError
from .components import largest_component

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class View:
    """The image that was explained and how its maps lie on it."""

    image: npt.NDArray[np.uint8] = field(repr=False)  # (H, W, 3), the original
    region: tuple[int, int, int, int]  # part of it that was looked at: x0, y0, x1, y1
    size: tuple[int, int]  # height and width of the working image in pixels; whole cells


@dataclass(frozen=True)
class ConceptMap:
    """Where one concept is.

    Attributes
    ----------
    concept : str
        As it was asked for.
    name : str
        What it was taken for: a synset name, or the phrase itself.
    note : str
        How the words were understood; empty where nothing had to be decided.
    cells : (h, w) float32 in [0, 1]
        The map, one value per cell; 1 is most salient.
    constant : bool
        True if the concept is equally strong everywhere, as ``entity.n.01`` is; the map is then all ones.
    score : float
        Whole image: ``1 - rank / |S|``, in [0, 1].
    rank : int
        Whole image: how many concepts of the bank fit better than the best of this concept's subtree.
    similarity : float
        Whole image: cosine of the best of the subtree.
    """

    concept: str
    name: str
    note: str
    cells: npt.NDArray[np.float32] = field(repr=False)
    constant: bool
    score: float
    rank: int
    similarity: float
    view: View = field(repr=False)

    @property
    def map(self) -> npt.NDArray[np.float32]:
        """The map at working resolution: (H, W) float32 in [0, 1]."""
        down, across = (side // count for side, count in zip(self.view.size, self.cells.shape, strict=True))
        return np.repeat(np.repeat(self.cells, down, axis=0), across, axis=1)

    @door
    def resized(self, smooth: bool = True) -> npt.NDArray[np.float32]:
        """The map over the original image.

        Parameters
        ----------
        smooth : bool
            Interpolate between the centres of the cells (bilinear) instead of showing the cells as they are.

        Returns
        -------
        (H, W) float32 in [0, 1]
            Zero where the image was not looked at (outside the square of ``fit="crop"``).
        """
        from PIL import Image

        x0, y0, x1, y1 = self.view.region
        method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        shown = Image.fromarray(self.cells).resize((x1 - x0, y1 - y0), method)
        full = np.zeros(self.view.image.shape[:2], np.float32)
        full[y0:y1, x0:x1] = np.clip(np.asarray(shown, np.float32), 0, 1)
        return full

    @door
    def box(self, threshold: float = 0.5) -> tuple[float, float, float, float]:
        """Box around the largest 4-connected part of the map at or above a threshold.

        Parameters
        ----------
        threshold : float in [0, 1]

        Returns
        -------
        (x0, y0, x1, y1)
            In pixels of the original image, ends exclusive.

        Raises
        ------
        InputError
            If the threshold is outside [0, 1].
        """
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold must be in [0, 1], got {threshold!r}")
        found = largest_component(self.cells >= threshold)
        if found is None:  # cannot happen for maps of ours, whose maximum is 1
            raise InputError(f"nothing in the map reaches the threshold {threshold}")
        x0, y0, x1, y1 = self.view.region
        across, down = (x1 - x0) / self.cells.shape[1], (y1 - y0) / self.cells.shape[0]
        return (
            x0 + found[0] * across,
            y0 + found[1] * down,
            x0 + found[2] * across,
            y0 + found[3] * down,
        )

    @door
    def overlay(self, box: bool = False) -> Image.Image:
        """The map laid over the original image, with its box if asked; a Pillow image."""
        return viz.overlay(self.view.image, self.resized(), self.box() if box else None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: names, note, score, rank, similarity, box (pixels of the original)."""
        return {
            "concept": self.concept,
            "name": self.name,
            "note": self.note,
            "score": self.score,
            "rank": self.rank,
            "similarity": self.similarity,
            "constant": self.constant,
            "box": [round(edge, 2) for edge in self.box()],
        }

    def _repr_html_(self) -> str:
        return _figure(self)


@dataclass(frozen=True)
class Explanation:
    """Maps of several concepts on one image; index it by position or by concept.

    Attributes
    ----------
    concepts : tuple of ConceptMap
        In the order they were asked for.
    mode : str
        How the evidence was made: ``"crops"``.
    options : dict
        Every other choice, by the keyword of :meth:`fastconcept.Engine.explain`.
    timings_ms : dict
        Milliseconds spent per stage.
    """

    concepts: tuple[ConceptMap, ...]
    mode: str
    options: dict[str, Any]
    timings_ms: dict[str, float] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        listed = ", ".join(f"{concept.concept} {concept.score:.4f}" for concept in self.concepts[:5])
        return f"<Explanation of {len(self)} by {self.mode}: {listed}{', ...' if len(self) > 5 else ''}>"

    @property
    def maps(self) -> npt.NDArray[np.float32]:
        """All maps at working resolution: (k, H, W) float32 in [0, 1]."""
        return np.stack([concept.map for concept in self.concepts])

    def __len__(self) -> int:
        return len(self.concepts)

    def __iter__(self) -> Iterator[ConceptMap]:
        return iter(self.concepts)

    @overload
    def __getitem__(self, key: SupportsIndex | str) -> ConceptMap: ...
    @overload
    def __getitem__(self, key: slice) -> Explanation: ...
    def __getitem__(self, key: SupportsIndex | str | slice) -> ConceptMap | Explanation:
        """A map by position, by the words it was asked for, or by its resolved name; for a slice, some of the maps."""
        if isinstance(key, slice):
            return replace(self, concepts=self.concepts[key])
        if not isinstance(key, str):
            return self.concepts[position(key, len(self))]
        for concept in self.concepts:
            if key in (concept.concept, concept.name):
                return concept
        asked = [concept.concept for concept in self.concepts]
        raise ConceptError(f"{key!r} was not explained; there are: {', '.join(asked)}", asked)

    @door
    def overlay(self, box: bool = False) -> Image.Image:
        """All overlays side by side, each with its concept and score under it."""
        pictures = [viz.caption(c.overlay(box), f"{c.concept}  {c.score:.3f}") for c in self.concepts]
        return viz.strip(pictures)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: mode, options, one entry per concept, timings."""
        return {
            "mode": self.mode,
            "options": self.options,
            "concepts": [concept.to_dict() for concept in self.concepts],
            "timings_ms": self.timings_ms,
        }

    def _repr_html_(self) -> str:
        figures = "".join(_figure(concept) for concept in self.concepts)
        return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{figures}</div>'


def _figure(concept: ConceptMap) -> str:
    picture = concept.overlay()
    picture.thumbnail((360, 360))
    stream = BytesIO()
    picture.save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    label = html.escape(f"{concept.concept} · score {concept.score:.3f}")
    title = html.escape(concept.note or concept.name, quote=True)
    return (
        f'<figure style="margin:0"><img src="data:image/png;base64,{data}" alt="{title}" title="{title}">'
        f"<figcaption>{label}</figcaption></figure>"
    )
