"""The dictionary of the built-in model: some 3,300 words and phrases that a person would use of a photograph.

Four sources, in this order: words chosen by hand (``everyday.txt``: people, places, activities, colours, materials),
names of things in the captions of the training photographs, names of the ImageNet classes, and WordNet's most frequent
names of things. WordNet has names for 10,000 more, but they are rare ones ("goffer", "puku"), and a decomposition would
choose them for what is left over. Nouns for people come from the first source only, because WordNet's others hold
insults. The package's list of unwanted nouns leaves out more, and ``unwanted.txt`` words that name nothing one could
see ("kind", "here") or nothing that one wants to be told of a photograph.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.export.banks import FREQUENT_NOUNS
from fastconcept.export.vocabulary import acceptable, read_phrases
from fastconcept.export.wordnet import descendants

from .lessons import KINDS, kinds_of, tokens
from .photographs import captions
from .things import THINGS

EVERYDAY = Path(__file__).with_name("everyday.txt")
FREQUENT = 5_000  # of the nouns that WordNet's tagged texts use most
MORE_THINGS = ("weather.n.01", "color.n.01", "sport.n.01", "plant_part.n.01", "body_of_water.n.01", "garment.n.01")
UNWANTED = Path(__file__).with_name("unwanted.txt")


def everyday_words(shared: Path) -> list[str]:
    """Return words and phrases, the surest first.

    Parameters
    ----------
    shared : Path
        Directory with ``train/``, ``train2/`` and ``data/dev/imagenet_classes.json``.
    """
    classes = json.loads((shared / "data" / "dev" / "imagenet_classes.json").read_text())
    rows = captions(shared).values()
    seen = Counter(word for texts in rows for word in {w for text in texts for w in tokens(text)})
    things = set(descendants(Taxonomy.builtin(), (*THINGS, *MORE_THINGS)).tolist())
    named = [word for word, count in seen.most_common() if count >= 4 and _is_thing(word, things)]
    tagged = [word for word in read_phrases(FREQUENT_NOUNS)[:FREQUENT] if _is_thing(word, things)]
    unwanted = set(_read(UNWANTED))
    person = list(KINDS).index("person")
    names = [name for name in class_names(classes) if person not in kinds_of(name)]
    every = [*by_hand(), *named, *names, *tagged]
    return list(dict.fromkeys(word for word in acceptable(every) if word.lower() not in unwanted))


def more_words(shared: Path, size: int) -> list[str]:
    """Return :func:`everyday_words`, and WordNet's most frequent nouns, ideas among them, up to `size` words."""
    person = list(KINDS).index("person")
    words = dict.fromkeys(everyday_words(shared))
    for noun in acceptable(read_phrases(FREQUENT_NOUNS)):
        if len(words) < size and person not in kinds_of(noun):
            words[noun] = None
    return list(words)[:size]


def by_hand() -> list[str]:
    """Return the words of ``everyday.txt``.

    Examples
    --------
    >>> {"man", "living room", "striped"} <= set(by_hand())
    True
    """
    return list(dict.fromkeys(_read(EVERYDAY)))


def class_names(classes: list[dict[str, str]]) -> list[str]:
    """Return the names of ImageNet classes without their Latin ones.

    Examples
    --------
    >>> class_names([{"words": "tench, Tinca tinca"}])
    ['tench']
    """
    names = [[name.strip() for name in entry["words"].split(",")] for entry in classes]
    return [name for row in names for i, name in enumerate(row) if i == 0 or name.islower()]


def _read(path: Path) -> list[str]:
    """Words between white space; an underscore is a space inside a phrase."""
    return [word.replace("_", " ") for word in path.read_text().split()]


def _is_thing(word: str, things: set[int]) -> bool:
    wordnet = Taxonomy.builtin()
    senses = wordnet.senses(word)
    if list(KINDS).index("person") in kinds_of(word):
        return False
    singular = bool(senses) and word in wordnet.lemmas(int(senses[0]), spaces=True)
    return singular and senses[0] in things and _is_plain(word)


def _is_plain(name: str) -> bool:
    return name.islower() and name.replace("-", "").isalpha() and len(name) > 2
