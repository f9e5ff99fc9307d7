"""Texts that the text tower learns from, and the embeddings of them by the development model, its teacher.

The teacher's 512-d embedding has rank 256. :func:`teacher_basis` is an isometry onto that subspace, so cosines in
256-d equal cosines in 512-d, and 256 dimensions are enough.

The teacher places definitions far better than names (77 % against 39 % zero-shot top-1 on its own dev set). A bare
name or a prompt is therefore pulled towards the definition of the first sense of the noun, with share w:
``normalise((1 - w) t(text) + w t(definition))``.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.export.banks import FREQUENT_NOUNS
from fastconcept.export.vocabulary import read_phrases
from fastconcept.export.wordnet import find_database, words_closure

from .rows import embed, tokenize
from .things import things, words


@dataclass
class Texts:
    """Texts, their unit target rows and how often each is drawn."""

    texts: list[str]
    targets: NDArray[np.float32]
    importance: NDArray[np.float32]


def teacher_basis(shared: Path) -> torch.Tensor:
    """Return the (512, 256) isometry of the teacher's embedding space, sign and order by singular value."""
    with np.load(shared / "models" / "teacher" / "target_space.npz") as archive:
        rotation = torch.from_numpy(archive["rotation_256_to_512"]).double()
    left, values, right = torch.linalg.svd(rotation, full_matrices=False)
    if (values - 1).abs().max() > 1e-3:
        raise ValueError(
            f"teacher rotation is not an isometry: singular values {values.min():.4f} to {values.max():.4f}"
        )
    return (left @ right).float()


def load_teacher(shared: Path, device: str = "cpu") -> Any:
    """Return the development model, whose text tower is the teacher."""
    import open_clip

    return open_clip.create_model(f"local-dir:{shared / 'models' / 'teacher'}", device=device).eval()


def prompt(name: str) -> str:
    """Return the one prompt used for names."""
    return f"a photo of a {name}"


def imagenet_classes(shared: Path) -> list[dict[str, Any]]:
    """Return index, wnid, synset and words of the 1000 classes."""
    return json.loads((shared / "data" / "dev" / "imagenet_classes.json").read_text())


def concept_set(shared: Path) -> NDArray[np.int32]:
    """Return S: the nodes of the physical-object words' senses and all their hypernyms."""
    return words_closure(Taxonomy.builtin(), read_phrases(shared / "reference" / "physical_objects.txt"))[0]


def class_nodes(classes: list[dict[str, Any]]) -> list[int]:
    """Return the WordNet nodes of ImageNet classes."""
    wordnet = Taxonomy.builtin()
    return [wordnet.index(entry["wnid"]) for entry in classes]


def frequent_adjectives(most: int = 400) -> list[str]:
    """Return the adjectives that WordNet's tagged texts use most; needs a WordNet database on this machine."""
    counts: dict[str, int] = {}
    for _, line in find_database().records("cntlist.rev"):
        key, _, count = line.split()
        lemma, _, sense = key.partition("%")
        if sense[0] in "35" and "_" not in lemma:
            counts[lemma] = counts.get(lemma, 0) + int(count)
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]


def first_lemma(entry: dict[str, Any]) -> str:
    """Return the first name of an ImageNet class."""
    return str(entry["words"]).split(",")[0].strip()


def _blend(names: torch.Tensor, definitions: torch.Tensor, share: float) -> torch.Tensor:
    return torch.nn.functional.normalize((1 - share) * names + share * definitions, dim=1)


def load_texts(shared: Path, out: Path, definition_share: float = 0.5, repeat: int = 3, device: str = "cpu") -> Texts:
    """Return all training texts with their targets; the teacher's rows are computed once and cached under `out`."""
    texts, partner, important = _collect(shared, imagenet_classes(shared))
    path = out / "texts.npz"
    if not path.exists():
        model = load_teacher(shared, device)
        tokens = tokenize(texts)
        rows = embed(model, tokens, device) @ teacher_basis(shared)
        np.savez(path, rows=rows.numpy().astype(np.float16), tokens=tokens, count=len(texts))
    with np.load(path) as archive:
        if int(archive["count"]) != len(texts):
            raise ValueError(f"{path} was made from other texts; delete it")
        rows = torch.nn.functional.normalize(torch.from_numpy(archive["rows"].astype(np.float32)), dim=1)
    pairs = torch.tensor(partner)
    named = pairs >= 0
    targets = rows.clone()
    targets[named] = _blend(rows[named], rows[pairs[named]], definition_share)
    weights = np.where(important, float(repeat), 1.0).astype(np.float32)
    return Texts(texts, targets.numpy(), weights)


def _collect(shared: Path, classes: list[dict[str, Any]]) -> tuple[list[str], list[int], NDArray[np.bool_]]:
    """Return texts, the row of the definition that each name is pulled to (or -1), and which texts matter most."""
    wordnet, nodes = Taxonomy.builtin(), class_nodes(classes)
    wanted = sorted({*concept_set(shared).tolist(), *nodes})
    texts = list(wordnet.definitions)  # row i is the definition of node i
    partner = [-1] * len(texts)
    important = np.isin(np.arange(len(texts)), wanted).tolist()

    def add(text: str, pair: int, matters: bool) -> None:
        texts.append(text)
        partner.append(pair)
        important.append(matters)

    names = dict.fromkeys(read_phrases(FREQUENT_NOUNS))
    names.update(dict.fromkeys(name for node in wanted for name in wordnet.lemmas(node, spaces=True)))
    for name in names:
        first = wordnet.senses(name)[0]
        add(name, first, important[first])
        add(prompt(name), first, important[first])
    for entry, node in zip(classes, nodes, strict=True):
        add(prompt(first_lemma(entry)), node, True)
        add(first_lemma(entry), node, True)
    draw, adjectives, plain = random.Random(0), frequent_adjectives(), list(names)
    for _ in range(10000):
        phrase = f"{draw.choice(adjectives)} {draw.choice(plain)}"
        add(draw.choice(["a {}", "a photo of a {}", "{}"]).format(phrase), -1, False)
    captions = json.loads((shared / "train" / "captions.json").read_text())
    for rows in captions.values():
        for caption in rows:
            add(caption, -1, False)
    return texts, partner, np.asarray(important)


def class_texts(shared: Path) -> list[str]:
    """Return 3000 texts: the definitions of the 1000 classes, then their prompts, then their names."""
    classes, definitions = imagenet_classes(shared), Taxonomy.builtin().definitions
    names = [first_lemma(entry) for entry in classes]
    return [*(definitions[node] for node in class_nodes(classes)), *map(prompt, names), *names]


def kept_texts(shared: Path) -> list[str]:
    """Return the texts that have to stay where stage 1 put them: definitions of S and of the bank, frequent names."""
    wordnet = Taxonomy.builtin()
    nodes = [*concept_set(shared).tolist(), *(wordnet.index(name) for name in things())]
    return list(dict.fromkeys([*(wordnet.definitions[node] for node in nodes), *words(), *map(prompt, words())]))
