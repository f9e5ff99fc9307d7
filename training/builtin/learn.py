"""Stage 3: the caption branch and the text adapter learn together, then the probe for people; all else stays.

``python -m training.builtin.learn --shared ../shared --features DIR --out DIR`` takes minutes on two cores, because
features of photographs and rows of texts are computed once and kept in the working directories. Every step draws
photographs with texts and asks for what :mod:`training.builtin.objective` says: photograph and text find each other,
the words of its captions come first, kinds of things are told apart, ImageNet's classes stay what they were; and texts
that no photograph has stay where they are.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from . import objective
from .checkpoint import Model, load, save
from .features import read
from .lessons import KINDS, PEOPLE, Lessons, read_lessons
from .rows import text_rows
from .texts import class_texts, kept_texts
from .tower import CaptionBranch, ImageTower, PeopleProbe, TextAdapter, mix
from .trunk import class_probabilities, load_trunk


@dataclass(frozen=True)
class Settings:
    """Sizes, rates and weights of the parts of the objective."""

    steps: int = 350
    batch: int = 384
    others: int = 128  # photographs without texts beside each batch
    words: int = 400  # of the vocabulary, drawn for each step
    texts: int = 512  # that have to stay, drawn for each step
    rate: float = 1e-3
    decay: float = 0.05
    dropout: float = 0.4
    cosine: float = 0.3
    word: float = 0.4
    kind: float = 1.0
    keep: float = 1.5
    stay: float = 3.0
    people_steps: int = 300
    people_batch: int = 256
    seed: int = 20261126


class Scales(torch.nn.Module):
    """Factors on cosines and biases of the objective; thrown away at the end."""

    def __init__(self, words: int, kinds: int) -> None:
        super().__init__()
        self.pair, self.word, self.kind = (torch.nn.Parameter(torch.tensor(value)) for value in (3.0, 2.5, 3.2))
        self.word_bias, self.kind_bias = torch.nn.Parameter(torch.zeros(words)), torch.nn.Parameter(torch.zeros(kinds))


@dataclass
class Data:
    """Everything in memory: features and class probabilities of all views, lessons, and rows of all texts."""

    features: torch.Tensor  # (n, 1504)
    probabilities: torch.Tensor  # (n, 1000)
    lessons: Lessons
    captions: torch.Tensor  # (t, d), of the lessons' texts one after the other
    starts: np.ndarray  # (n + 1,), where the texts of a photograph begin
    vocabulary: torch.Tensor
    kinds: torch.Tensor
    kind_of: torch.Tensor  # (k,), which kind a text of `kinds` asks for
    kept: torch.Tensor  # of texts that have to stay, those of the classes among them
    classes: torch.Tensor  # (3000, d): definitions, prompts and names of the ImageNet classes


def read_data(shared: Path, features: Path, out: Path, text: Any, trunk: Any) -> Data:
    """Return the data of a run; the rows of texts are kept in `out`."""
    parts = [rows for rows in (read(features, view) for view in ("whole", "crop")) if rows[0]]
    lessons = read_lessons(shared, [key for keys, _ in parts for key in keys])
    every = torch.from_numpy(np.concatenate([rows for _, rows in parts]))
    with torch.inference_mode():
        probabilities = class_probabilities(trunk, every)
    # Values below 1e-8 are denormal in products, which costs a CPU a hundred times the time.
    probabilities = torch.where(probabilities > 1e-8, probabilities, torch.zeros(())).clone()
    asked = [text for texts, _ in KINDS.values() for text in texts]
    sets = [[t for ts in lessons.texts for t in ts], lessons.vocabulary, asked, kept_texts(shared), class_texts(shared)]
    rows = text_rows(text, [t for texts in sets for t in texts], out / "text_rows.npz")
    captions, vocabulary, kinds, kept, classes = torch.from_numpy(rows).split([len(texts) for texts in sets])
    return Data(
        every,
        probabilities,
        lessons,
        captions,
        np.cumsum([0, *(len(texts) for texts in lessons.texts)]),
        vocabulary,
        kinds,
        torch.tensor([kind for kind, (texts, _) in enumerate(KINDS.values()) for _ in texts]),
        torch.cat([kept, classes]),
        classes,
    )


def anchors(classes: torch.Tensor) -> torch.Tensor:
    """Return the rows (1000, d) that stand for the classes: definition, prompt and name together."""
    definitions, prompts, names = classes.split(1000)
    return normalize(definitions + 0.8 * prompts + 0.3 * names, dim=1)


def people(kinds: torch.Tensor, kind_of: torch.Tensor) -> torch.Tensor:
    """Return the unit direction (d,) from the texts of other kinds to those of kinds of people.

    Parameters
    ----------
    kinds : (k, d) float32
        Unit rows of the texts of :data:`KINDS`.
    kind_of : (k,) int64
        Which kind a text asks for.
    """
    means = torch.stack([kinds[kind_of == kind].mean(0) for kind in range(len(KINDS))])
    return normalize(means[:PEOPLE].mean(0) - means[PEOPLE:].mean(0), dim=0)


def learn(data: Data, settings: Settings) -> tuple[CaptionBranch, TextAdapter]:
    """Train and return the caption branch and the text adapter."""
    torch.manual_seed(settings.seed)
    draw = np.random.default_rng(settings.seed)
    branch, adapter = CaptionBranch(settings.dropout), TextAdapter()
    branch.mean.copy_(data.features.mean(0))
    branch.deviation.copy_(data.features.std(0) + 1e-2)
    scales = Scales(len(data.vocabulary), len(data.kinds))
    parameters = [*branch.parameters(), *adapter.parameters(), *scales.parameters()]
    optimizer = torch.optim.AdamW(parameters, settings.rate, weight_decay=settings.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=settings.steps, pct_start=0.15)
    taught = np.flatnonzero(np.diff(data.starts))
    classes = data.classes
    sums: dict[str, float] = defaultdict(float)
    began = time.time()
    for step in range(1, settings.steps + 1):
        chosen = draw.choice(taught, settings.batch, replace=False)
        if step % 20 == 1:  # often enough: the adapter moves them little
            with torch.no_grad():
                classes = adapter(data.classes)
        losses = _losses(data, settings, branch, adapter, scales, classes, chosen, draw)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        schedule.step()
        for name, loss in losses.items():
            sums[name] += float(loss.detach())
        if step % 100 == 0 or step == settings.steps:
            shown = ", ".join(f"{name} {value / 100:.3f}" for name, value in sums.items())
            print(f"step {step}: {shown}; {time.time() - began:.0f} s", flush=True)
            sums.clear()
    return branch.eval(), adapter.eval()


def learn_people(data: Data, branch: CaptionBranch, settings: Settings) -> PeopleProbe:
    """Train and return the probe for people, on all photographs of which it is known whether somebody is there."""
    torch.manual_seed(settings.seed)
    answers = torch.from_numpy(data.lessons.kinds[:, :PEOPLE])
    there, nobody = (answers > 0).any(1), (answers == 0).all(1)
    known = torch.where(there | nobody)[0]
    probe = PeopleProbe(settings.dropout)
    optimizer = torch.optim.AdamW(probe.parameters(), settings.rate, weight_decay=settings.decay)
    for _ in range(settings.people_steps):
        chosen = known[torch.randint(len(known), (settings.people_batch,))]
        with torch.no_grad():
            scaled = branch.scaled(data.features[chosen])
        loss = binary_cross_entropy_with_logits(probe.logits(scaled), there[chosen].float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    print(f"people: {float(loss.detach()):.3f}", flush=True)
    return probe.eval()


def _losses(
    data: Data,
    settings: Settings,
    branch: CaptionBranch,
    adapter: TextAdapter,
    scales: Scales,
    classes: torch.Tensor,
    chosen: np.ndarray,
    draw: np.random.Generator,
) -> dict[str, torch.Tensor]:
    """The parts of the objective for one batch of photographs with texts, and others beside them."""
    lessons, count = data.lessons, len(chosen)
    photos = torch.from_numpy(np.concatenate([chosen, draw.choice(len(data.features), settings.others)]))
    places = data.starts[chosen] + (draw.random(count) * np.diff(data.starts)[chosen]).astype(np.int64)
    picked = torch.from_numpy(draw.choice(len(data.vocabulary), min(settings.words, len(data.vocabulary)), False))
    kept = data.kept[torch.from_numpy(draw.choice(len(data.kept), min(settings.texts, len(data.kept)), False))]
    groups = [data.captions[torch.from_numpy(places)], data.vocabulary[picked], data.kinds, kept]
    texts, words, kinds, stayed = adapter(torch.cat(groups)).split([len(rows) for rows in groups])
    probabilities = data.probabilities[photos]
    captions = branch(data.features[photos])
    direction = people(kinds.detach(), data.kind_of)
    # The branch has to find people by itself: rows with the probe's answer in them leave it nothing to learn.
    along = captions @ direction
    mixed = mix(normalize(probabilities @ anchors(classes), dim=1), captions, direction, along)
    human = torch.from_numpy(lessons.human[chosen])
    shares = torch.from_numpy(lessons.words[chosen])[:, picked][human]
    both = (mixed[:count][human], captions[:count][human])
    pair, word = scales.pair.exp(), scales.word.exp()
    answers = torch.from_numpy(lessons.kinds)[photos][:, data.kind_of]
    return {
        "pairs": sum(objective.pairs(rows, texts[human], pair) for rows in both) / 2,
        "cosine": settings.cosine * (1 - (captions[:count] * texts).sum(1)).mean(),
        "words": settings.word
        * sum(objective.words_first(rows, words, shares, word, scales.word_bias[picked]) for rows in both),
        "kinds": settings.kind * objective.kinds_apart(mixed, kinds, answers, scales.kind.exp(), scales.kind_bias),
        "classes": settings.keep
        * sum(objective.classes_kept(mixed, rows, probabilities) for rows in classes[:2000].split(1000))
        / 2,
        "stay": settings.stay * (1 - (stayed * kept).sum(1)).mean(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, train, and write the checkpoint to ``OUT/checkpoint``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="directory with the training packs")
    parser.add_argument("--features", type=Path, required=True, help="directory of stage 2")
    parser.add_argument(
        "--out", type=Path, required=True, help="working directory; text.safetensors of stage 1 is here"
    )
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    text, trunk = load(asked.out / "text.safetensors").text, load_trunk()
    data = read_data(asked.shared, asked.features, asked.out, text, trunk)
    print(f"{len(data.features)} views, {len(data.captions)} texts, {len(data.vocabulary)} words", flush=True)
    settings = Settings(steps=asked.steps)
    branch, adapter = learn(data, settings)
    probe = learn_people(data, branch, settings)
    with torch.inference_mode():
        rows, direction = anchors(adapter(data.classes)), people(adapter(data.kinds), data.kind_of)
    save(Model(ImageTower(trunk, branch, probe, rows, direction), text, adapter), asked.out / "checkpoint")


if __name__ == "__main__":
    main()
