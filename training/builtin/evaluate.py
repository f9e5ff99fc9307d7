"""Stage 5: judge a bundle on ``../shared/data/dev``, whose photographs are never trained on.

``python -m training.builtin.evaluate --shared ../shared --json FILE``. The photographs of ILSVRC's validation part have
one class of a thousand each, those of COCO five captions. How well maps point, and what decompositions keep of
retrieval and of zero-shot accuracy, is measured by ``fastconcept evaluate``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastconcept as fc
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.evaluate.metrics import recall_at
from fastconcept.evaluate.retrieval import retrieval_ranks
from fastconcept.saliency.agreement import compare_maps
from fastconcept.sparse.dictionary import Dictionary
from fastconcept.sparse.result import Decompositions

from .lessons import KINDS, kinds_of, tokens
from .rightness import Said, is_right, narrow_kinds, said_by
from .texts import class_nodes, class_texts, concept_set, imagenet_classes
from .words import more_words

Rows = NDArray[np.float32]
WORDS, FIRST = 10, 5
PEOPLE = {  # words of captions that mean a person
    *("man", "woman", "boy", "girl", "person", "people", "child", "men", "women", "children", "lady", "guy", "player"),
    *("rider", "skier", "surfer", "baby", "kid"),
}
PERSON = ("a photo of a person", "a photo of people", "a man", "a woman")
NO_PERSON = tuple(f"a photo of {thing}" for thing in ("an animal", "food", "furniture", "a vehicle", "a landscape"))


def judge(engine: fc.Engine, shared: Path, l1_penalty: float | None = None) -> dict[str, float]:
    """Return the numbers of the model card for one bundle; a penalty stands in for the bundle's."""
    folder = shared / "data" / "dev"
    entries = json.loads((folder / "annotations.json").read_text())
    labelled = [entry for entry in entries if entry["subset"].startswith("ilsvrc_val")]
    captioned = [entry for entry in entries if entry["subset"] == "coco"]
    rows = engine.encode_image([folder / entry["file"] for entry in labelled + captioned])
    of_classes, of_captions = rows[: len(labelled)], rows[len(labelled) :]
    return {
        **_classes(engine, shared, labelled, of_classes, l1_penalty),
        **_captions(engine, captioned, of_captions, l1_penalty),
        **_people(engine, captioned, of_captions),
    }


def _classes(
    engine: fc.Engine, shared: Path, entries: list[dict[str, Any]], rows: Rows, l1_penalty: float | None
) -> dict[str, float]:
    """Zero-shot accuracy, the rank of the true definition among S, and how often a word names the class or its kind."""
    classes, concepts, wordnet = imagenet_classes(shared), concept_set(shared), Taxonomy.builtin()
    definitions, prompts = np.split(engine.encode_text(class_texts(shared)[:2000]), 2)
    everything = engine.encode_text([wordnet.definitions[node] for node in concepts])
    true = np.array([entry["imagenet_index"] for entry in entries])
    own = (rows * definitions[true]).sum(1, keepdims=True)
    ahead = (rows @ everything.T > own + 1e-6).sum(1)
    nodes = [class_nodes(classes)[index] for index in true]
    codes = engine.decompose(embeddings=rows, l0=WORDS)
    kinds = [{n.lower() for kind in narrow_kinds(node) for n in wordnet.lemmas(kind, spaces=True)} for node in nodes]
    named = [
        not wanted.isdisjoint(word.lower() for word, _ in code.top(WORDS))
        for code, wanted in zip(codes, kinds, strict=True)
    ]
    said = [said_by(classes[index]["words"].split(",")) for index in true]
    for known, node in zip(said, nodes, strict=True):
        known.synsets |= narrow_kinds(node)
    return {
        "class_photographs": len(entries),
        "zeroshot_definition": float(((rows @ definitions.T).argmax(1) == true).mean()),
        "zeroshot_prompt": float(((rows @ prompts.T).argmax(1) == true).mean()),
        "definition_first": float((ahead == 0).mean()),
        "definition_among_20": float((ahead < 20).mean()),
        "named_by_ten_words": float(np.mean(named)),
        "first_words_right_class": _first_right(codes, said),
        **_right("class", engine.decompose(embeddings=rows, l1_penalty=l1_penalty), said),
    }


def _first_right(codes: Decompositions, said: list[Said]) -> float:
    """The mean share of the first five words that are right."""
    shares = [
        sum(is_right(word, known) for word, _ in code.top(FIRST)) / FIRST
        for code, known in zip(codes, said, strict=True)
    ]
    return float(np.mean(shares))


def _right(what: str, codes: Decompositions, said: list[Said]) -> dict[str, float]:
    """How many words a photograph has, how many of all are right, and how many photographs have a right one."""
    right = [[is_right(word, known) for word, _ in code.top()] for code, known in zip(codes, said, strict=True)]
    return {
        f"words_{what}": float(codes.l0.mean()),
        f"words_right_{what}": sum(map(sum, right)) / max(1, sum(map(len, right))),
        f"some_word_right_{what}": float(np.mean([any(words) for words in right])),
    }


def _captions(
    engine: fc.Engine, entries: list[dict[str, Any]], rows: Rows, l1_penalty: float | None
) -> dict[str, float]:
    """Retrieval among the photographs with captions, and how often words are in the captions."""
    texts = [caption for entry in entries for caption in entry["captions"][:5]]
    owner = np.repeat(np.arange(len(entries)), [len(entry["captions"][:5]) for entry in entries])
    to_image, to_text = retrieval_ranks(rows, engine.encode_text(texts), owner)
    said = [said_by(entry["captions"]) for entry in entries]
    return {
        "captioned_photographs": len(entries),
        "text_to_image_1": recall_at(to_image, 1),
        "text_to_image_5": recall_at(to_image, 5),
        "image_to_text_1": recall_at(to_text, 1),
        "first_words_right_captions": _first_right(engine.decompose(embeddings=rows, l0=WORDS), said),
        **_right("captions", engine.decompose(embeddings=rows, l1_penalty=l1_penalty), said),
    }


def same_maps(engine: fc.Engine, full: fc.Engine, shared: Path, count: int = 32) -> dict[str, float]:
    """Return the mean and the least rank correlation of maps by two bundles, of what is there and of dogs."""
    folder, found = shared / "data" / "dev", []
    entries = [e for e in json.loads((folder / "annotations.json").read_text()) if e["subset"].startswith("ilsvrc_val")]
    for entry, mode in itertools.product(entries[:count], ("windows", "crops")):
        asked = (folder / entry["file"], [entry["wnid"], "dog.n.01"])
        maps = [[seen.cells for seen in one.explain(*asked, mode=mode, stride=32)] for one in (engine, full)]
        compared = [compare_maps(one, two, near=1) for one, two in zip(*maps, strict=True)]
        found += [both.spearman for both in compared if both is not None]
    return {"map_spearman": float(np.mean(found)), "map_spearman_least": float(np.min(found))}


def has_person(captions: Sequence[str]) -> bool:
    """Return whether a caption names a person.

    Examples
    --------
    >>> has_person(["A man's hat."]), has_person(["A hat."])
    (True, False)
    """
    return any(not PEOPLE.isdisjoint(tokens(caption)) for caption in captions)


def names_person(word: str) -> bool:
    """Return whether a word of a dictionary means a person: by itself, or by the noun that an unknown phrase ends with.

    Examples
    --------
    >>> names_person("small child"), names_person("surfer"), names_person("aircraft carrier")
    (True, True, False)
    """
    noun = word if Taxonomy.builtin().senses(word) else word.split()[-1]
    return noun in PEOPLE or list(KINDS).index("person") in kinds_of(noun)


def _people(engine: fc.Engine, entries: list[dict[str, Any]], rows: Rows) -> dict[str, float]:
    """Whether a person is there: told by texts, and named among ten words."""
    from sklearn.metrics import roc_auc_score

    there = np.array([has_person(entry["captions"]) for entry in entries])
    yes, no = ((rows @ engine.encode_text(list(texts)).T).max(1) for texts in (PERSON, NO_PERSON))
    codes = engine.decompose(embeddings=rows, l0=WORDS)
    named = np.array([any(names_person(word) for word, _ in code.top(WORDS)) for code in codes])
    return {
        "person_auroc": float(roc_auc_score(there, yes - no)),
        "person_named": float(named[there].mean()),
        "person_named_without": float(named[~there].mean()),
    }


def with_words(engine: fc.Engine, words: list[str]) -> fc.Engine:
    """Return an engine with other words in its dictionary, to compare dictionaries; no bundle changes."""
    return fc.Engine(engine.parts.replace(dictionary=Dictionary.from_embeddings(words, engine.encode_text(words))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="directory with data/dev")
    parser.add_argument("--bundle", type=Path, help="directory of a bundle; by default the built-in one")
    parser.add_argument("--json", type=Path, help="file that gets the numbers, too")
    parser.add_argument("--full", type=Path, help="the same bundle in float32, whose maps should be the same")
    parser.add_argument("--words", type=int, help="size of another dictionary: ours and WordNet's most frequent nouns")
    parser.add_argument("--l1-penalty", type=float, help="penalty of decompositions; by default the bundle's")
    asked = parser.parse_args(arguments)
    engine = fc.load(asked.bundle)
    if asked.words:
        engine = with_words(engine, more_words(asked.shared, asked.words))
    judged = judge(engine, asked.shared, asked.l1_penalty)
    if asked.full:
        judged |= same_maps(engine, fc.load(asked.full), asked.shared)
    numbers = {name: round(value, 4) for name, value in judged.items()}
    print(json.dumps(numbers, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
