"""Questions of a user study: which caption belongs to an image of which only maps of concepts can be seen?"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets.dataset import Dataset
from ..datasets.embed import Progress, silent
from ..datasets.items import BadRow
from ..datasets.texts import read_json
from ..doors import door
from ..engine import Engine
from ..errors import InputError
from ..files import whole_file

DISTRACTORS = ("near", "random")
MOST_QUESTIONS = 1000
MOST_CAPTIONS = 20_000  # whose similarities are compared
_EQUAL = 0.97  # captions this similar say the same


@dataclass(frozen=True)
class Question:
    """One image and the captions to choose from.

    Attributes
    ----------
    image : str
        Path of the image; in a file, relative to that file's directory.
    captions : tuple of str
        Exactly one of them belongs to the image.
    answer : int
        Which one, from 0.
    """

    image: str
    captions: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Questions:
    """The questions of a study, in the order in which they are asked.

    Attributes
    ----------
    title : str
    questions : tuple of Question
    settings : dict
        How they were made.
    bad : list of BadRow
        Images that no question could be made of.
    seconds : float
    """

    title: str
    questions: tuple[Question, ...]
    settings: dict[str, Any]
    bad: tuple[BadRow, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        questions = [{**asdict(question), "captions": list(question.captions)} for question in self.questions]
        return {"title": self.title, "settings": self.settings, "questions": questions}

    def save(self, path: Path) -> None:
        """Write them as JSON, with paths of images relative to the file where they lie below its directory."""
        folder = Path(os.path.realpath(path)).parent
        moved = replace(self, questions=tuple(replace(q, image=_relative(q.image, folder)) for q in self.questions))
        with whole_file(path) as stream:
            stream.write((json.dumps(moved.to_dict(), ensure_ascii=False, indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Questions:
        """Read what :meth:`save` wrote, or somebody else.

        Raises
        ------
        InputError
            If the file cannot be read, or is anything else.
        """
        document = read_json(path)
        entries = document.get("questions") if isinstance(document, dict) else None
        if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_QUESTIONS:
            raise InputError(f"{path} must hold 1 to {MOST_QUESTIONS} questions; see docs/explorer.md")
        questions = tuple(_question(entry, f"{path} question {number}") for number, entry in enumerate(entries, 1))
        settings = document.get("settings", {})
        found = [replace(question, image=str(path.parent / question.image)) for question in questions]
        for question in found:
            if not os.path.isfile(question.image):
                raise InputError(f"{path} asks about {question.image}, which is not there")
        return cls(str(document.get("title", path.stem)), tuple(found), settings if isinstance(settings, dict) else {})


def _relative(image: str, folder: Path) -> str:
    absolute = Path(os.path.realpath(image))
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else str(absolute)


def _question(entry: Any, where: str) -> Question:
    given = entry if isinstance(entry, dict) else {}
    image, captions, answer = (given.get(key) for key in ("image", "captions", "answer"))
    good = isinstance(image, str) and isinstance(captions, list) and all(isinstance(text, str) for text in captions)
    if not good or not isinstance(answer, int) or isinstance(answer, bool):
        raise InputError(f"{where} needs an image, a list of captions, and the number of the answer")
    assert isinstance(image, str) and isinstance(captions, list)
    if not 2 <= len(captions) <= 10 or len(set(captions)) != len(captions) or not 0 <= answer < len(captions):
        raise InputError(f"{where} needs 2 to 10 different captions, and an answer from 0 to {len(captions) - 1}")
    return Question(image, tuple(captions), answer)


@door
def study(
    engine: Engine,
    dataset: Dataset,
    *,
    count: int = 20,
    choices: int = 4,
    distractors: str = "near",
    seed: int = 0,
    progress: Progress = silent,
) -> Questions:
    """Make questions from images with captions: one caption is the image's own, the others are of other images.

    Parameters
    ----------
    engine : Engine
        Its text encoder says how similar captions are.
    dataset : Dataset
        With captions; the first caption of each image is used.
    count : int
        Number of questions; fewer where the data has fewer images.
    choices : int
        Captions of each question, from 2 to 10.
    distractors : {"near", "random"}
        The other captions: those most similar to the right one, which makes a question as hard as the data allows, or
        any. Captions that say the same (cosine above 0.97) are left out.
    seed : int
        Decides which images are asked about, in which order, and where the right caption stands.
    progress : callable
        Called with (captions embedded, captions).

    Returns
    -------
    Questions

    Raises
    ------
    InputError
        If fewer images than ``choices`` have captions, or a value is out of range.

    Source: Giulivi & Boracchi, arXiv 2405.14563, section "User study".
    """
    began = time.perf_counter()
    if distractors not in DISTRACTORS:
        raise InputError(f"distractors must be one of {', '.join(DISTRACTORS)}; got {distractors!r}")
    if not 2 <= choices <= 10 or not 1 <= count <= MOST_QUESTIONS:
        raise InputError(
            f"choices must be from 2 to 10 and count from 1 to {MOST_QUESTIONS}, got {choices} and {count}"
        )
    rng = np.random.default_rng(seed)
    items = [item for item in dataset.items if item.captions and item.image is not None]
    items = [items[k] for k in sorted(rng.permutation(len(items))[:MOST_CAPTIONS].tolist())]
    captions = [" ".join(item.captions[0].split()) for item in items]
    different = len(set(captions))
    if different < choices:
        raise InputError(f"{dataset.name} has {different} images with captions of their own, {choices} are needed")
    rows = _embedded(engine, captions, progress)
    bad = dataset.bad_rows()
    questions: list[Question] = []
    for k in rng.permutation(len(items)).tolist():
        if len(questions) == count:
            break
        others = _others(k, captions, rows, choices - 1, distractors, rng)
        if len(others) < choices - 1:
            bad.add(items[k].name, "too few captions say something else")
            continue
        try:
            engine.load_image(items[k].image)
        except InputError as error:
            bad.add(items[k].name, str(error))
            continue
        order = rng.permutation(choices).tolist()
        shown = [[captions[k], *others][place] for place in order]
        questions.append(Question(str(items[k].image), tuple(shown), order.index(0)))
    if not questions:
        raise InputError(f"no question can be made of {dataset.name}")
    settings = {"data": dataset.name, "choices": choices, "distractors": distractors, "seed": seed}
    seconds = time.perf_counter() - began
    return Questions(dataset.name, tuple(questions), settings, tuple(bad.rows), seconds)


def _embedded(engine: Engine, captions: Sequence[str], progress: Progress) -> npt.NDArray[np.float32]:
    parts = []
    for start in range(0, len(captions), 64):
        parts.append(engine.encode_text(captions[start : start + 64]))
        progress(min(start + 64, len(captions)), len(captions))
    return np.concatenate(parts)


def _others(
    k: int, captions: list[str], rows: npt.NDArray[np.float32], count: int, distractors: str, rng: np.random.Generator
) -> list[str]:
    """Captions that say something else, each once."""
    similar = rows @ rows[k]
    order = np.argsort(-similar, kind="stable") if distractors == "near" else rng.permutation(len(captions))
    others: dict[str, None] = {}
    for other in order.tolist():
        if len(others) == count:
            break
        if other != k and similar[other] < _EQUAL and captions[other] != captions[k]:
            others[captions[other]] = None
    return list(others)
