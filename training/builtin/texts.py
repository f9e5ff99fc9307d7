"""Texts that the text tower learns from, and the teacher's embeddings of them.

The teacher's 512-d embedding has rank 256. :func:`teacher_basis` is an isometry onto that subspace, so cosines in
256-d equal cosines in 512-d, and nano needs no more than 256 dimensions.

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

from .model import create


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


def load_teacher(shared: Path, device: str = "cpu") -> tuple[Any, Any]:
    """Return the teacher and its tokenizer."""
    import open_clip

    name = f"local-dir:{shared / 'models' / 'teacher'}"
    return open_clip.create_model(name, device=device).eval(), open_clip.get_tokenizer(name)


def tokenize(tokenizer: Any, texts: list[str]) -> NDArray[np.uint16]:
    """Return token ids (n, 77) of CLIP's vocabulary."""
    rows = [tokenizer(texts[start : start + 4096]).numpy() for start in range(0, len(texts), 4096)]
    return np.concatenate(rows).astype(np.uint16)


def encode_short(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return ``model.encode_text(tokens, normalize=True)`` of rows cut to the longest text (open_clip wants all 77)."""
    length = tokens.shape[1]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    last = hidden[torch.arange(len(tokens), device=tokens.device), tokens.argmax(1)]
    return torch.nn.functional.normalize(last @ model.text_projection, dim=1)


@torch.inference_mode()
def embed(model: Any, tokens: NDArray[np.uint16], device: str = "cpu", batch_size: int = 256) -> torch.Tensor:
    """Return unit text embeddings; rows are sorted by length so that no batch is padded further than it must be."""
    lengths = (tokens != 0).sum(1)
    order = np.argsort(lengths, kind="stable")
    result: torch.Tensor | None = None
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = torch.from_numpy(tokens[rows, : lengths[rows].max()].astype(np.int64)).to(device)
        found = encode_short(model, batch).float().cpu()
        if result is None:
            result = torch.empty(len(tokens), found.shape[1])
        result[torch.from_numpy(rows)] = found
    assert result is not None
    return result


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


def class_targets(
    shared: Path, out: Path, device: str = "cpu", definition_share: float = 0.5
) -> dict[str, torch.Tensor]:
    """Return targets (1000, 256) of the class definitions and of their prompts, cached under `out`.

    The image tower's anchors are ``normalise(definition + 0.5 prompt)``.
    """
    path = out / "classes.npz"
    if not path.exists():
        model, tokenizer = load_teacher(shared, device)
        rows = embed(model, tokenize(tokenizer, _class_texts(shared)), device) @ teacher_basis(shared)
        names = _blend(rows[1000:], rows[:1000], definition_share)
        np.savez(path, definition=rows[:1000].numpy(), prompt=names.numpy())
    with np.load(path) as archive:
        found = {name: torch.from_numpy(archive[name]) for name in ("definition", "prompt")}
    found["anchor"] = torch.nn.functional.normalize(found["definition"] + 0.5 * found["prompt"], dim=1)
    return found


def _class_texts(shared: Path) -> list[str]:
    """Return the definitions of the 1000 classes, then their prompts."""
    classes, definitions = imagenet_classes(shared), Taxonomy.builtin().definitions
    return [definitions[node] for node in class_nodes(classes)] + [prompt(first_lemma(c)) for c in classes]


def own_class_targets(config: dict[str, Any], shared: Path, out: Path) -> dict[str, torch.Tensor]:
    """Return rows (1000, 256) of the class definitions and prompts as the finished text tower of `out` embeds them.

    The image tower is held against these rows when it is used; what the text tower missed of the teacher's rows, the
    image tower can make up for.
    """
    import open_clip

    model = create(config)
    model.load_state_dict(torch.load(out / "text.pt", map_location="cpu", weights_only=True), strict=False)
    rows = embed(model.eval(), tokenize(open_clip.get_tokenizer("ViT-B-32"), _class_texts(shared)))
    return {"definition": rows[:1000].clone(), "prompt": rows[1000:].clone()}  # made in inference mode


def _blend(names: torch.Tensor, definitions: torch.Tensor, share: float) -> torch.Tensor:
    return torch.nn.functional.normalize((1 - share) * names + share * definitions, dim=1)


def load_texts(shared: Path, out: Path, definition_share: float = 0.5, repeat: int = 3, device: str = "cpu") -> Texts:
    """Return all training texts with their targets; the teacher's rows are computed once and cached under `out`."""
    texts, partner, important = _collect(shared, imagenet_classes(shared))
    path = out / "texts.npz"
    if not path.exists():
        model, tokenizer = load_teacher(shared, device)
        tokens = tokenize(tokenizer, texts)
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
