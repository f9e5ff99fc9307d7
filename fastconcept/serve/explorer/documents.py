"""What the page is told: concepts, maps and photographs as plain values for JSON."""

from __future__ import annotations

import base64
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import viz
from ...concepts.bank import ConceptBank
from ...concepts.taxonomy import Taxonomy
from ...saliency.result import ConceptMap
from ...saliency.survey import SeenConcept


def packed(values: npt.NDArray[Any]) -> str:
    """The bytes of an array in base64, little-endian.

    Examples
    --------
    >>> packed(np.array([1.0], np.float32))
    'AACAPw=='
    """
    return base64.b64encode(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()).decode()


def map_document(concept: ConceptMap) -> dict[str, Any]:
    """A map with its cells (float32, row by row) and the part of the photograph that they cover (x0, y0, x1, y1)."""
    height, width = concept.cells.shape
    return {
        **concept.to_dict(),
        "cells": {"height": height, "width": width, "values": packed(concept.cells)},
        "region": list(concept.view.region),
    }


def seen_document(seen: SeenConcept) -> dict[str, Any]:
    """A concept that a survey found."""
    return {
        "name": seen.name,
        "surprise": seen.score,
        "rank": seen.rank,
        "similarity": seen.similarity,
        "patches": seen.patches,
    }


def described(name: str, bank: ConceptBank) -> dict[str, Any]:
    """Words and definition of a concept by its name, and what lies below it in the bank; a phrase has only its words.

    Examples
    --------
    >>> bank = ConceptBank(np.eye(2), phrases=["red", "green"])
    >>> described("polar_bear.n.01", bank)["words"]
    ['ice bear', 'polar bear', 'Ursus Maritimus', 'Thalarctos maritimus']
    >>> described("a striped pet", bank)
    {'title': 'a striped pet', 'words': ['a striped pet'], 'wnid': None, 'definition': '', 'below': 0}
    """
    wordnet = Taxonomy.builtin()
    node = wordnet.find(name)
    if node is None:
        return {"title": name, "words": [name], "wnid": None, "definition": "", "below": 0}
    words = list(wordnet.lemmas(node, spaces=True))
    return {
        "title": words[0],
        "words": words,
        "wnid": wordnet.wnids[node],
        "definition": wordnet.definitions[node],
        "below": _below(name, bank),
    }


def _below(name: str, bank: ConceptBank) -> int:
    taxonomy = bank.taxonomy
    node = None if taxonomy is None else taxonomy.find(name)
    return 0 if taxonomy is None or node is None else int(taxonomy.subtree_sizes[node]) - 1


@cache
def palette() -> str:
    """The 256 colours of maps, from 0 to 1, as bytes in base64: the page draws as :mod:`fastconcept.viz` does."""
    return packed(viz.colorize(np.linspace(0, 1, 256)[None])[0])


def jpeg(pixels: npt.NDArray[np.uint8], side: int) -> bytes:
    """A photograph as JPEG, made smaller so that no side is longer than ``side`` pixels."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()
