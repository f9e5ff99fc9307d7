"""Stage 1: the text tower, by cosine regression onto the development model's embeddings of the same texts.

``python -m training.builtin.train_text --shared ../shared --out DIR --hours 1``; calling it again goes on where it was.
The result is ``DIR/text.safetensors``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .average import Average, write_state
from .checkpoint import empty_text_tower
from .rows import embed, encode_short, tokenize
from .schedule import Schedule
from .text_start import start_text_tower
from .texts import load_texts

SEED, BATCH, RATE, DECAY, WARM_UP, AVERAGE = 20240611, 256, 1e-3, 0.01, 0.03, 0.998
REPEAT_IMPORTANT = 8  # how often a definition of S is drawn for once that any other text is


def train_text(shared: Path, out: Path, device: str, hours: float) -> None:
    """Train (or go on training) until the deadline; the average of the weights goes to ``text.safetensors``.

    Parameters
    ----------
    shared, out : Path
        Directory of the development model and data, and working directory.
    device : str
        ``cpu`` or ``cuda``.
    hours : float
        Time budget.
    """
    from safetensors.torch import save_file

    folder = out / "text"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    draw = np.random.default_rng(SEED)
    texts = load_texts(shared, out, repeat=REPEAT_IMPORTANT, device=device)
    tokens = tokenize(texts.texts)
    model = empty_text_tower()
    held_out = draw.permutation(np.flatnonzero(texts.importance == 1))[:1000]
    chance = texts.importance.copy()
    chance[held_out] = 0
    chance /= chance.sum()
    resume = folder / "resume.pt"
    if not resume.exists():
        learn = np.flatnonzero(chance)
        start_text_tower(model, tokens[learn], texts.targets[learn])
    model = model.to(device).train()
    table = [model.token_embedding.weight]
    others = [p for n, p in model.named_parameters() if not n.startswith("token_embedding")]
    groups = [{"params": others}, {"params": table, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0, betas=(0.9, 0.98), weight_decay=DECAY)
    average = Average(model, AVERAGE)
    progress, step, seen = 0.0, 0, 0
    if resume.exists():
        saved = torch.load(resume, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average.restore(saved["average"])
        progress, step, seen = saved["progress"], saved["step"], saved["seen"]
        draw = np.random.default_rng(SEED + step)
    schedule = Schedule(folder, hours, progress)
    targets = torch.from_numpy(texts.targets).to(device)
    lengths = (tokens != 0).sum(1)
    size, wrote, losses = BATCH, time.time(), []
    while schedule.advance() < 1:
        rows = draw.choice(len(tokens), size * 32, p=chance)
        rows = rows[np.argsort(lengths[rows], kind="stable")].reshape(32, size)
        for batch in draw.permutation(rows):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(RATE, WARM_UP)
            ids = torch.from_numpy(tokens[batch, : lengths[batch].max()].astype(np.int64)).to(device)
            rows = encode_short(model, ids)
            loss = (1 - (rows * targets[torch.from_numpy(batch)]).sum(1)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            optimizer.step()
            average.update(model)
            step, seen = step + 1, seen + size
            losses.append(float(loss.detach()))
            if schedule.advance() >= 1:
                break
        if step % 320 < 32:
            print(
                f"text step {step} seen {seen} progress {schedule.progress:.3f} loss {np.mean(losses[-320:]):.4f}",
                flush=True,
            )
        if time.time() - wrote > 180 or schedule.progress >= 1:
            wrote = time.time()
            held = _held_out_cosine(model, average, tokens, targets, held_out, device)
            print(f"text step {step} cosine of 1000 held-out texts {held:.4f}", flush=True)
            save_file({f"text.{n}": v.contiguous() for n, v in average.state.items()}, out / "text.safetensors")
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.saved()}
            write_state({**state, "progress": schedule.progress, "step": step, "seen": seen}, resume)


@torch.no_grad()
def _held_out_cosine(model: Any, average: Average, tokens: Any, targets: torch.Tensor, rows: Any, device: str) -> float:
    with average.applied(model):
        found = embed(model, tokens[rows], device)
    return float((found * targets[torch.from_numpy(rows)].cpu()).sum(1).mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="directory with models/teacher and data")
    parser.add_argument("--out", type=Path, required=True, help="working directory")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--hours", type=float, default=1.0, help="time budget")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    train_text(asked.shared, asked.out, asked.device, asked.hours)


if __name__ == "__main__":
    main()
