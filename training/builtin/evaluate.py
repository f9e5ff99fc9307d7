"""Judge nano against its teacher on ``../shared/data/dev``: ranks of definitions and zero-shot accuracy.

``python -m training.builtin.evaluate --shared ../shared --checkpoint DIR``. Both models run through open_clip in fp32;
a row of the shipped bundle, and how far it is from fp32, are added with ``--bundle``. How well maps point is measured
by ``fastconcept evaluate localize``, on the bundle as it ships.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastconcept.concepts.taxonomy import Taxonomy

from .texts import class_nodes, concept_set, embed, first_lemma, imagenet_classes, prompt, tokenize
from .zeroshot import crop_and_resize

Encode = Callable[[torch.Tensor], torch.Tensor]


class Judged:
    """A model under evaluation: images in [0, 1] and texts to unit rows."""

    def __init__(
        self, name: str, size: int, encode_image: Encode, encode_text: Callable[[list[str]], torch.Tensor]
    ) -> None:
        self.name, self.size, self.encode_image, self.encode_text = name, size, encode_image, encode_text


def from_checkpoint(name: str, folder: Path, size: int | None = None) -> Judged:
    """Load an open_clip checkpoint directory; `size` overrides the input side of the image tower."""
    import open_clip

    config = json.loads((folder / "open_clip_config.json").read_text())
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    mean = torch.tensor(config["preprocess_cfg"]["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(config["preprocess_cfg"]["std"]).view(1, 3, 1, 1)

    @torch.inference_mode()
    def encode(images: torch.Tensor) -> torch.Tensor:
        images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        return model.encode_image(images, normalize=True)

    model.visual.to(memory_format=torch.channels_last)
    return Judged(
        name,
        size or config["model_cfg"]["vision_cfg"]["image_size"],
        encode,
        lambda texts: embed(model, tokenize(tokenizer, texts)),
    )


def from_bundle(name: str, folder: Path) -> Judged:
    """Wrap a shipped bundle; images go through the engine's own encoder as uint8."""
    import fastconcept

    engine = fastconcept.load(folder)

    def encode(images: torch.Tensor) -> torch.Tensor:
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(np.asarray(engine.encode_image([np.ascontiguousarray(p) for p in pixels])))

    manifest = json.loads((folder / "manifest.json").read_text())
    size = manifest.get("preprocess", {}).get("size", 96)
    size = size[0] if isinstance(size, list) else size
    return Judged(name, size, encode, lambda texts: torch.from_numpy(np.asarray(engine.encode_text(texts))))


def label_entries(shared: Path, subset: str = "ilsvrc_val") -> list[dict[str, Any]]:
    """Return the evaluation photographs of a subset that have a class of ImageNet-1k."""
    entries = json.loads((shared / "data" / "dev" / "annotations.json").read_text())
    return [e for e in entries if e["subset"].startswith(subset) and "imagenet_index" in e]


def named(folder: Path, shared: Path, l0: int = 10) -> dict[str, float]:
    """Return, per dictionary of a bundle, how often one of about `l0` words names the true class or a kind of it.

    Names of synsets with 3,000 or more below them ("artifact") do not count.
    """
    import fastconcept

    wordnet, entries, found = Taxonomy.builtin(), label_entries(shared), {}
    files = [shared / "data" / "dev" / entry["file"] for entry in entries]
    embeddings = fastconcept.load(folder).encode_image(files)
    for name in fastconcept.bundle.Bundle(folder).manifest.dictionaries:
        codes = fastconcept.load(folder, dictionary=name).decompose(embeddings=embeddings, l0=l0)
        hits = 0
        for entry, code in zip(entries, codes, strict=True):
            kinds = wordnet.closure([wordnet.index(entry["wnid"])])
            narrow = [int(node) for node in kinds if len(wordnet.subtree(int(node))) < 3000]
            names = {lemma.lower() for node in narrow for lemma in wordnet.lemmas(node, spaces=True)}
            hits += any(word.lower() in names for word, _ in code.top(l0))
        found[f"named_by_{name}"] = hits / len(entries)
    return found


def agreement(one: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
    """Return the mean and least cosine of the embeddings (n, d) of two models."""
    cosines = (one * other).sum(1)
    return {"mean_cosine": float(cosines.mean()), "min_cosine": float(cosines.min())}


def evaluate(judged: Judged, shared: Path) -> tuple[dict[str, float], torch.Tensor]:
    """Return the numbers of one model, and its embeddings (n, d) of the photographs.

    ``top20``: true definition among the 20 best of S (S with the true class added). ``definition``, ``prompt``:
    zero-shot top-1 over 1000 classes.
    """
    classes, concepts = imagenet_classes(shared), concept_set(shared)
    nodes = class_nodes(classes)
    everything = np.union1d(concepts, nodes)
    wordnet = Taxonomy.builtin().induced(everything)
    texts = judged.encode_text(list(wordnet.definitions))
    definitions = texts[np.searchsorted(everything, nodes)]
    prompts = judged.encode_text([prompt(first_lemma(c)) for c in classes])
    in_set = texts[np.searchsorted(everything, concepts)]
    entries, dev = label_entries(shared), shared / "data" / "dev"
    rows = []
    for start in range(0, len(entries), 64):
        images = [
            np.asarray(crop_and_resize(Image.open(dev / e["file"]), judged.size)) for e in entries[start : start + 64]
        ]
        rows.append(judged.encode_image(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255))
    found = torch.cat(rows)
    true = torch.tensor([e["imagenet_index"] for e in entries])
    own = (found * definitions[true]).sum(1, keepdim=True)
    ahead = (found @ in_set.T > own + 1e-6).sum(1)
    numbers = {
        "images": len(entries),
        "first": float((ahead == 0).float().mean()),
        "top5": float((ahead < 5).float().mean()),
        "top20": float((ahead < 20).float().mean()),
        "definition": float(((found @ definitions.T).argmax(1) == true).float().mean()),
        "prompt": float(((found @ prompts.T).argmax(1) == true).float().mean()),
        "prompt5": float(((found @ prompts.T).topk(5, 1).indices == true[:, None]).any(1).float().mean()),
    }
    return numbers, found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, print one JSON object per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--checkpoint", type=Path, help="open_clip checkpoint directory of nano")
    parser.add_argument("--bundle", type=Path, help="nano's bundle as shipped")
    parser.add_argument("--teacher", action="store_true", help="also judge the teacher (slow: 224 px per patch)")
    parser.add_argument("--teacher-bundle", type=Path, help="judge a bundle of the teacher, three times as fast")
    parser.add_argument("--json", type=Path, help="write all numbers to this file; others in it stay")
    parser.add_argument("--size", type=int, help="input side of nano, if not that of its config")
    parser.add_argument("--threads", type=int, default=0)
    asked = parser.parse_args(arguments)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    models: list[Judged] = []
    if asked.teacher:
        models.append(from_checkpoint("teacher", asked.shared / "models" / "teacher"))
    if asked.checkpoint:
        models.append(from_checkpoint("nano fp32", asked.checkpoint, asked.size))
    if asked.teacher_bundle:
        models.insert(0, from_bundle("teacher", asked.teacher_bundle))
    if asked.bundle:
        models.append(from_bundle("nano shipped", asked.bundle))
    results: dict[str, dict[str, float]] = {}
    if asked.json and asked.json.exists():
        results = json.loads(asked.json.read_text())
    seen: dict[str, torch.Tensor] = {}
    for judged in models:
        numbers, seen[judged.name] = evaluate(judged, asked.shared)
        if judged.name == "nano shipped":
            numbers |= named(asked.bundle, asked.shared)
        results[judged.name] = {name: round(value, 4) for name, value in numbers.items()}
        print(json.dumps({"model": judged.name} | results[judged.name]), flush=True)
    if {"nano fp32", "nano shipped"} <= seen.keys():
        both = agreement(seen["nano fp32"], seen["nano shipped"])
        results["nano shipped against fp32"] = {name: round(value, 6) for name, value in both.items()}
        print(json.dumps(results["nano shipped against fp32"]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
