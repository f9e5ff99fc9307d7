"""The engine's methods as models of the open inference protocol: the same tensors from our server and from Triton."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..saliency.result import Explanation
from ..saliency.survey import SeenConcepts
from ..sparse.result import Decomposition
from .keywords import LAYOUT, READING, SPARSITY, SURVEY, Keyword

Outputs = dict[str, npt.NDArray[Any]]
EMBEDDING_DIM = 0  # in a shape, stands for the width of the model's embeddings
_RESERVED = ("binary_data_output", "timeout", "priority", "sequence_id", "sequence_start", "sequence_end")


@dataclass(frozen=True)
class Tensor:
    """An input or output: a name, ``"BYTES"`` or ``"FP32"``, and a shape in which -1 is any number."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def sides(self, embedding_dim: int) -> list[int]:
        """The shape, for embeddings of a width."""
        return [embedding_dim if side == EMBEDDING_DIM else side for side in self.shape]


@dataclass(frozen=True)
class Model:
    """A method of the engine as a model.

    Attributes
    ----------
    name : str
    inputs, outputs : tuple of Tensor
        Photographs are the bytes of their files; texts are UTF-8.
    keywords : dict of str to Keyword
        Parameters of a request.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    keywords: dict[str, Keyword]

    @property
    def batched(self) -> bool:
        """Whether the first axis of every tensor counts photographs or texts, so that requests can be put together."""
        return self.name in ("embed", "embed_text", "decompose")

    def options(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Keywords of the engine from the parameters of a request, where several numbers are a text with commas.

        Raises
        ------
        InputError
            If one is unknown or has the wrong type.

        Examples
        --------
        >>> MODELS["explain"].options({"stride": "16,8", "seed": 3})
        {'stride': (16, 8), 'seed': 3}
        """
        options = {}
        for name, value in parameters.items():
            if name in _RESERVED:
                continue
            keyword = self.keywords.get(name)
            if keyword is None:
                known = ", ".join(self.keywords) or "none"
                raise InputError(f"{self.name} has no parameter {name[:80]!r}; there are {known}")
            options[name] = keyword.checked(keyword.of_text(value) if isinstance(value, str) else value)
        return options


_IMAGES, _ROWS = Tensor("IMAGE", "BYTES", (-1, 1)), Tensor("EMBEDDING", "FP32", (-1, EMBEDDING_DIM))
_ONE_IMAGE = Tensor("IMAGE", "BYTES", (1,))
_NAMES, _SCORES = Tensor("NAMES", "BYTES", (-1,)), Tensor("SCORES", "FP32", (-1,))
_WORDS, _WEIGHTS = Tensor("WORDS", "BYTES", (-1, -1)), Tensor("WEIGHTS", "FP32", (-1, -1))
MODELS = {
    model.name: model
    for model in (
        Model("embed", (_IMAGES,), (_ROWS,), {}),
        Model("embed_text", (Tensor("TEXT", "BYTES", (-1, 1)),), (_ROWS,), {}),
        Model("decompose", (_IMAGES,), (_WORDS, _WEIGHTS, Tensor("COSINE", "FP32", (-1, 1))), SPARSITY),
        Model(
            "explain",
            (_ONE_IMAGE, Tensor("CONCEPTS", "BYTES", (-1,))),
            (Tensor("MAPS", "FP32", (-1, -1, -1)), _SCORES, Tensor("BOXES", "FP32", (-1, 4)), _NAMES),
            {**LAYOUT, **READING},
        ),
        Model("concepts", (_ONE_IMAGE,), (_NAMES, _SCORES), {**SURVEY, **LAYOUT}),
    )
}


def of_rows(rows: npt.NDArray[np.float32]) -> Outputs:
    """Outputs of ``embed`` and ``embed_text``."""
    return {"EMBEDDING": rows}


def of_codes(codes: Sequence[Decomposition]) -> Outputs:
    """Outputs of ``decompose``: words by falling weight; shorter rows end in empty words of weight 0."""
    width = max((code.l0 for code in codes), default=0)
    words, weights = np.full((len(codes), width), "", object), np.zeros((len(codes), width), np.float32)
    for index, code in enumerate(codes):
        for place, (word, weight) in enumerate(code.top()):
            words[index, place], weights[index, place] = word, weight
    return {"WORDS": words, "WEIGHTS": weights, "COSINE": np.array([[code.cosine] for code in codes], np.float32)}


def of_explanation(seen: Explanation) -> Outputs:
    """Outputs of ``explain``: one map, score, box (x0, y0, x1, y1 in pixels) and name per concept."""
    return {
        "MAPS": seen.maps,
        "SCORES": np.array([concept.score for concept in seen], np.float32),
        "BOXES": np.array([concept.box() for concept in seen], np.float32),
        "NAMES": _strings([concept.name for concept in seen]),
    }


def of_survey(seen: SeenConcepts) -> Outputs:
    """Outputs of ``concepts``, best first."""
    return {"NAMES": _strings(seen.names), "SCORES": np.array([concept.score for concept in seen], np.float32)}


def _strings(values: Sequence[str]) -> npt.NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array
