"""What each photograph teaches: captions, words, and kinds of things in it or not in it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastconcept.concepts.taxonomy import Taxonomy

from .photographs import captions

KINDS = {  # what is asked of every photograph: the texts that ask, and the synsets that answer yes
    "person": (
        ("a photo of a person", "a person", "people", "a photo of people", "person"),
        ("person.n.01", "people.n.01"),
    ),
    "man": (("a photo of a man", "a man", "man"), ("man.n.01", "male_child.n.01")),
    "woman": (("a photo of a woman", "a woman", "woman"), ("woman.n.01", "girl.n.01", "female_child.n.01")),
    "child": (
        ("a photo of a child", "a child", "child"),
        ("child.n.01", "baby.n.01", "male_child.n.01", "female_child.n.01"),
    ),
    "animal": (("a photo of an animal", "an animal", "animal"), ("animal.n.01",)),
    "dog": (("a photo of a dog", "a dog", "dog"), ("dog.n.01",)),
    "vehicle": (("a photo of a vehicle", "a vehicle", "vehicle"), ("vehicle.n.01",)),
    "furniture": (("a photo of furniture", "furniture"), ("furniture.n.01",)),
    "room": (("a photo of a room", "a room", "indoors"), ("room.n.01",)),
    "food": (("a photo of food", "food"), ("food.n.01", "food.n.02", "dish.n.02")),
    "building": (("a photo of a building", "a building", "building"), ("building.n.01",)),
    "water": (("a photo of water", "water"), ("body_of_water.n.01", "water.n.01", "swimming_pool.n.01")),
    "landscape": (
        ("a photo of a landscape", "a landscape"),
        ("geological_formation.n.01", "field.n.01", "forest.n.01"),
    ),
    "street": (("a photo of a street", "a street"), ("road.n.01", "pavement.n.01")),
    "snow": (("a photo of snow", "snow"), ("snow.n.01", "snow.n.02")),
    "sport": (("a photo of sport", "sports"), ("sport.n.01", "sports_equipment.n.01", "athlete.n.01")),
}
PEOPLE = 4  # of KINDS, the first ones are people
SCENES = {  # image-level labels of train2: kinds that are there; kinds that are not are taken for absent
    "bedroom": ("room", "furniture"),
    "bathroom": ("room",),
    "kitchen": ("room", "furniture"),
    "house": ("building",),
}
MATERIALS = ("glass", "metal", "paper", "cardboard", "plastic")
_STOP = {
    "a",
    "an",
    "the",
    "in",
    "on",
    "is",
    "and",
    "with",
    "of",
    "are",
    "to",
    "at",
    "his",
    "while",
    "through",
    "her",
    "over",
    "front",
    "one",
    "by",
    "up",
    "it",
    "its",
    "into",
    "for",
    "their",
    "as",
    "from",
    "two",
    "three",
    "four",
    "another",
    "near",
    "down",
    "other",
    "each",
    "some",
    "out",
    "off",
    "next",
    "around",
    "behind",
    "has",
    "him",
    "them",
    "that",
    "there",
    "who",
    "something",
    "what",
    "he",
    "she",
    "they",
    "this",
    "be",
    "have",
    "all",
    "or",
    "which",
    "where",
    "being",
    "very",
    "s",
    "t",
    "do",
    "does",
    "doing",
    "trying",
    "tries",
}


def tokens(caption: str) -> list[str]:
    """Return the words of a caption in lower case.

    Examples
    --------
    >>> tokens("A man's dog.")
    ['a', 'man', 's', 'dog']
    """
    return re.findall(r"[a-z]+", caption.lower())


@cache
def kinds_of(word: str) -> tuple[int, ...]:
    """Return which of :data:`KINDS` a word names, by its first noun sense.

    Examples
    --------
    >>> [list(KINDS)[kind] for kind in kinds_of("puppy")]
    ['animal', 'dog']
    """
    wordnet = Taxonomy.builtin()
    senses = wordnet.senses(word)
    if not senses:
        return ()
    above = set(wordnet.closure([senses[0]]).tolist())
    roots = [{wordnet.index(name) for name in names} for _, names in KINDS.values()]
    return tuple(kind for kind, names in enumerate(roots) if above & names)


@dataclass
class Lessons:
    """Of n photographs: texts, words and kinds. `kinds` is 1 for there, 0 for not there, -1 for unknown."""

    texts: list[list[str]]  # at least one each; human captions, or sentences made of labels
    human: NDArray[np.bool_]  # whether the texts are captions
    words: NDArray[np.float32]  # (n, vocabulary): share of the captions that have the word
    vocabulary: list[str]
    kinds: NDArray[np.float32]  # (n, len(KINDS))


def read_lessons(shared: Path, keys: list[str], rarest: int = 12) -> Lessons:
    """Return the lessons of photographs of both packs; those without any have empty texts.

    Parameters
    ----------
    shared : Path
        Directory with ``train/`` and ``train2/``.
    keys : list of str
        Photographs.
    rarest : int
        Photographs that must have a word in a caption for it to be taught as a word.
    """
    written = captions(shared)
    objects = json.loads((shared / "train2" / "objects.json").read_text())
    with np.load(shared / "train" / "labels.npz") as archive:
        groups = dict(zip(archive["keys"].astype(str).tolist(), archive["group"].astype(str).tolist(), strict=True))
    counts = Counter(word for rows in written.values() for word in {w for row in rows for w in tokens(row)})
    vocabulary = [w for w, n in counts.most_common() if n >= rarest and w not in _STOP and len(w) > 2]
    place = {word: i for i, word in enumerate(vocabulary)}
    texts: list[list[str]] = []
    words = np.zeros((len(keys), len(vocabulary)), np.float32)
    kinds = np.full((len(keys), len(KINDS)), -1, np.float32)
    for row, key in enumerate(keys):
        if key in written:
            texts.append(written[key])
            _caption_lesson(written[key], place, words[row], kinds[row])
        elif key in objects:
            labels = [entry[0] for entry in objects[key]]
            texts.append(_label_texts(labels))
            _label_lesson(key, labels, kinds[row])
        else:
            texts.append(_group_texts(key, groups.get(key, "")))
            if texts[-1] and key.startswith(("cub", "grocery", "fruitveg", "hymenoptera")):
                kinds[row] = 0
                kinds[row, list(kinds_of("fruit" if key[0] in "gf" else "bird" if key[0] == "c" else "bee"))] = 1
    return Lessons(texts, np.array([key in written for key in keys]), words, vocabulary, kinds)


def _caption_lesson(
    rows: list[str], place: dict[str, int], words: NDArray[np.float32], kinds: NDArray[np.float32]
) -> None:
    """A kind that one caption of five names may be there or not, so it is left unknown; two are enough."""
    votes = np.zeros(len(KINDS))
    for row in rows:
        named = set(tokens(row))
        votes[sorted({kind for word in named for kind in kinds_of(word)})] += 1
        for word in named & place.keys():
            words[place[word]] += 1 / len(rows)
    kinds[:] = np.where(votes == 0, 0, np.where(votes >= min(2, len(rows)), 1, -1))


def _label_texts(labels: list[str]) -> list[str]:
    named = list(dict.fromkeys(label for label in labels if label != "trash"))
    if not named:
        return []
    if named[0] in MATERIALS:
        return [f"a piece of {named[0]}", f"a thing made of {named[0]}", f"{named[0]} waste"]
    single = [start + name for start in ("a photo of a ", "a ") for name in named]
    return [*single, "a photo of " + " and ".join(f"a {name}" for name in named[:4])]


def _label_lesson(key: str, labels: list[str], kinds: NDArray[np.float32]) -> None:
    names = list(KINDS)
    if labels[0] in SCENES and len(labels) == 1:
        kinds[:] = 0
        kinds[[names.index(kind) for kind in SCENES[labels[0]]]] = 1
        if labels[0] == "house":
            kinds[[names.index("landscape"), names.index("water"), names.index("vehicle")]] = -1
    elif key.startswith("trashnet"):
        kinds[:] = 0
        kinds[names.index("food")] = -1
    else:
        kinds[[names.index(kind) for kind in ("food", "snow", "sport", "animal", "dog")]] = 0
        for label in {*labels, *(("person",) if "cyclist" in labels else ())}:
            kinds[list(kinds_of(label))] = 1


def _group_texts(key: str, group: str) -> list[str]:
    """Sentences of the folder's name of a source that has real names; WordNet ids and letters are none."""
    if not group or re.fullmatch(r"n\d{8}", group) or group.startswith(("BACKGROUND", "Faces", "not")):
        return []
    name = re.sub(r"[-_]+", " ", group).lower().strip()
    if key.startswith("cub"):
        return [f"a photo of a {name}, a bird", f"a {name}", "a bird"]
    if key.startswith("fruitveg"):
        return [f"a photo of {name}", name]
    return [f"a photo of a {name}", f"a {name}", name]
