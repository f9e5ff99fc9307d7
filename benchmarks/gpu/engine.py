"""The engine on the device against the engine on the CPU: the same torch module, the same picture, the same answers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .encoders import DIM, SIDE, vision_transformer
from .steps import Missing
from .verify import unit_rows

CONCEPTS, WORDS = 2000, 1000


def same_answers() -> dict[str, float]:
    """Largest differences between the two, each checked: embeddings, maps of every mode, words."""
    import torch

    from fastconcept.bench import synthetic_jpeg

    if not torch.cuda.is_available():
        raise Missing("torch sees no CUDA device")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    here, there = (_engine(device) for device in ("cpu", "cuda:0"))
    picture, names = synthetic_jpeg(300, 300), ["phrase 0", "phrase 7", "phrase 1999"]
    found = {"embedding": float(np.abs(here.encode_image(picture) - there.encode_image(picture)).max())}
    for mode in ("crops", "dense"):
        ours, theirs = (engine.explain(picture, names, mode=mode) for engine in (there, here))
        found[f"{mode}, mean difference of maps"] = float(np.abs(ours.maps - theirs.maps).mean())
        ranks = [np.array([int(seen[name].rank) for name in names]) for seen in (ours, theirs)]
        found[f"{mode}, ranks of the whole image"] = float(np.abs(ranks[0] - ranks[1]).max())
    ours, theirs = (engine.decompose([picture] * 3) for engine in (there, here))
    same = all(dict(a.top()).keys() == dict(b.top()).keys() for a, b in zip(ours, theirs, strict=True))
    found["cosines of decompositions"] = float(np.abs(ours.cosine - theirs.cosine).max())
    limits = {"embedding": 1e-5, "cosines of decompositions": 1e-4}
    for name, value in found.items():
        limit = limits.get(name, 0.01 if "mean" in name else 3)
        if not value <= limit:
            raise AssertionError(f"{name}: {value} is beyond {limit}; all: {found}")
    if not same:
        raise AssertionError("the words of the two engines differ")
    return found


def _engine(device: str) -> Any:
    import torch

    import fastconcept as fc
    from fastconcept.concepts.bank import ConceptBank
    from fastconcept.encoders.torch_module import TorchImageEncoder
    from fastconcept.sparse.dictionary import Dictionary

    towers = [vision_transformer(32, width=192, layers=4, heads=4, dense=dense).to(device) for dense in (False, True)]
    return fc.Engine.from_parts(
        embedding_dim=DIM,
        preprocess=fc.Preprocess((SIDE, SIDE), (0.5,) * 3, (0.25,) * 3),
        image_encoder=TorchImageEncoder(copy.deepcopy(towers[0]).to(torch.float32)),
        dense_encoder=TorchImageEncoder(towers[1], stride=32),
        bank=ConceptBank(unit_rows(CONCEPTS, DIM), phrases=[f"phrase {i}" for i in range(CONCEPTS)]),
        dictionary=Dictionary([f"word {i}" for i in range(WORDS)], unit_rows(WORDS, DIM, 1), np.zeros(DIM)),
        image_mean=np.zeros(DIM, np.float32),
        device=device,
    )
