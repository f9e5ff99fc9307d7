"""What a model sees in one image: concepts at each level of the hierarchy with their maps, and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..concepts.taxonomy import Taxonomy
from ..engine import Engine
from ..errors import InputError
from ..saliency.explain import embed
from ..saliency.layout import Layout
from ..saliency.reading import Reading, read
from ..saliency.result import ConceptMap
from ..saliency.targets import Target
from ..sparse.result import Decomposition

if TYPE_CHECKING:
    from ..encoders.decode import ImageLike

FloatArray = npt.NDArray[np.float32]
LEVELS = (("kind", 6), ("group", 9), ("thing", None))  # depth in edges from the root; None is the concept itself
_CANDIDATES = 60


@dataclass(frozen=True)
class Level:
    """Concepts of about the same generality, best first."""

    name: str
    maps: tuple[ConceptMap, ...]


@dataclass(frozen=True)
class Sight:
    """Everything a page says about one image.

    Attributes
    ----------
    name : str
    image : (H, W, 3) uint8
    levels : tuple of Level
        From general to specific; the last, ``elsewhere``, are concepts that win patches of the image without being
        among the best for the whole.
    words : Decomposition or None
        None where the engine has no dictionary.
    taxonomy : Taxonomy
        Words and definitions of the concepts.
    scores : list of (concept, definition, similarity, rank)
        The ten concepts nearest to the whole image.
    """

    name: str
    image: npt.NDArray[np.uint8]
    levels: tuple[Level, ...]
    words: Decomposition | None
    taxonomy: Taxonomy = field(repr=False)
    scores: list[tuple[str, str, float, int]]


def look(
    engine: Engine,
    image: ImageLike,
    name: str,
    *,
    layout: Layout = Layout(stride=32),
    reading: Reading = Reading(),
    per_level: int = 4,
) -> Sight:
    """Choose the concepts that an image shows at each level of generality, and map them in one pass over its patches.

    Parameters
    ----------
    engine : Engine
        An engine whose bank has a taxonomy.
    image : path, bytes, Pillow image or uint8 (H, W, 3)
    name : str
        Name of the image on the page.
    layout : Layout
        Places of the image that are embedded.
    reading : Reading
        Way in which they are read into maps.
    per_level : int
        Largest number of concepts per level.

    Returns
    -------
    Sight

    Raises
    ------
    ImageError
        If the image cannot be read.
    InputError
        If the bank has no taxonomy.
    """
    taxonomy = engine.bank.taxonomy
    if taxonomy is None:
        raise InputError("a report needs a bank of synsets; this bundle's bank holds phrases without a hierarchy")
    pixels, parts = engine.load_image(image), engine.parts
    with engine.place:
        evidence = embed(pixels, parts.image_tower(layout.mode), layout)
        rows, whole = (engine.kernels.to_host(values) for values in (evidence.rows, evidence.whole))
        similarities = engine.bank.embeddings @ whole[0]
        nearest = np.argsort(-similarities, kind="stable")
        nodes = {title: _at_depth(taxonomy, nearest[:_CANDIDATES], depth, per_level) for title, depth in LEVELS}
        nodes["elsewhere"] = _elsewhere(engine.bank, rows, nearest[:_CANDIDATES], per_level)
        drawn = [(taxonomy.names[node], taxonomy.subtree(node)) for level in nodes.values() for node in level]
        targets = [Target(concept, concept, "", members) for concept, members in drawn]
        maps = iter(read(evidence, targets, parts.prepared_bank, reading, parts.kernels, parts.num_threads))
    levels = [Level(title, tuple(next(maps) for _ in level)) for title, level in nodes.items() if level]
    words = engine.decompose(embeddings=whole[0]) if parts.has("dictionary") else None
    scores = [
        (taxonomy.names[node], taxonomy.definitions[node], float(similarities[node]), rank)
        for rank, node in enumerate(nearest[:10].tolist())
    ]
    return Sight(name, pixels, tuple(levels), words, taxonomy, scores)


def _at_depth(taxonomy: Taxonomy, nearest: npt.NDArray[np.int64], depth: int | None, count: int) -> list[int]:
    """The best concepts at a depth, each above one of the nearest or that one itself, none above another."""
    chosen: list[int] = []
    for node in nearest.tolist():
        path = taxonomy.path_to_root(node)
        ancestor = node if depth is None else path[max(0, len(path) - 1 - depth)]
        above = taxonomy.closure([ancestor])
        if not any(other in above or ancestor in taxonomy.closure([other]) for other in chosen):
            chosen.append(ancestor)
        if len(chosen) == count:
            break
    return chosen


def _elsewhere(bank: ConceptBank, rows: FloatArray, nearest: npt.NDArray[np.int64], count: int) -> list[int]:
    """Concepts that are nearest to at least two patches but not near the whole image, most patches first."""
    winners, wins = np.unique((rows @ bank.embeddings.T).argmax(axis=1), return_counts=True)
    order = winners[np.argsort(-wins, kind="stable")]
    often = set(winners[wins >= 2].tolist())
    return [int(i) for i in order if int(i) in often and i not in nearest][:count]
