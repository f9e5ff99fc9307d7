"""Train nano's text tower: cosine regression onto the teacher's embeddings of the same texts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .average import Average, write_state
from .model import create, read_tower, start_text_tower
from .schedule import Schedule
from .texts import embed, encode_short, load_texts, tokenize

PARTS = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


def text_state(model: Any) -> dict[str, torch.Tensor]:
    """Return the part of a model's state that belongs to the text tower."""
    return {name: value for name, value in model.state_dict().items() if name.startswith(PARTS)}


def train_text(
    config: dict[str, Any], shared: Path, out: Path, device: str, hours: float, start: Path | None = None
) -> None:
    """Train (or go on training) until the deadline; the average of the weights goes to ``text.pt``.

    Parameters
    ----------
    config : dict
        See ``config.json``.
    shared, out : Path
        Directory of the teacher and data, and working directory.
    device : str
        ``cpu`` or ``cuda``.
    hours : float
        Time budget.
    start : Path or None
        Checkpoint whose tower a fresh run begins with.
    """
    import open_clip

    settings, folder = config["text"], out / "text"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config["seed"])
    draw = np.random.default_rng(config["seed"])
    texts = load_texts(shared, out, settings["definition_share_of_names"], settings["repeat_important"], device)
    tokens = tokenize(open_clip.get_tokenizer("ViT-B-32"), texts.texts)
    model = create(config)
    model.visual = torch.nn.Identity()
    held_out = draw.permutation(np.flatnonzero(texts.importance == 1))[:1000]
    chance = texts.importance.copy()
    chance[held_out] = 0
    chance /= chance.sum()
    resume = folder / "resume.pt"
    if start is not None:
        model.load_state_dict(read_tower(start, "text"), strict=False)
    elif not resume.exists():
        learn = np.flatnonzero(chance)
        start_text_tower(model, tokens[learn], texts.targets[learn])
    model = model.to(device).train()
    table = [model.token_embedding.weight]
    others = [p for n, p in model.named_parameters() if n.startswith(PARTS) and not n.startswith("token_embedding")]
    groups = [{"params": others}, {"params": table, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0, betas=(0.9, 0.98), weight_decay=settings["weight_decay"])
    average = Average(model, settings["ema_decay"])
    progress, step, seen = 0.0, 0, 0
    if resume.exists():
        saved = torch.load(resume, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average.restore(saved["average"])
        progress, step, seen = saved["progress"], saved["step"], saved["seen"]
        draw = np.random.default_rng(config["seed"] + step)
    schedule = Schedule(folder, hours, progress)
    targets = torch.from_numpy(texts.targets).to(device)
    lengths = (tokens != 0).sum(1)
    size, wrote, losses = settings["batch_size"], time.time(), []
    while schedule.advance() < 1:
        rows = draw.choice(len(tokens), size * 32, p=chance)
        rows = rows[np.argsort(lengths[rows], kind="stable")].reshape(32, size)
        for batch in draw.permutation(rows):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(settings["learning_rate"], settings["warmup"])
            ids = torch.from_numpy(tokens[batch, : lengths[batch].max()].astype(np.int64)).to(device)
            found = encode_short(model, ids)
            loss = (1 - (found * targets[torch.from_numpy(batch)]).sum(1)).mean()
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
            write_state({n: v for n, v in average.state.items() if n.startswith(PARTS)}, out / "text.pt")
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.saved()}
            write_state({**state, "progress": schedule.progress, "step": step, "seen": seen}, resume)


@torch.no_grad()
def _held_out_cosine(model: Any, average: Average, tokens: Any, targets: torch.Tensor, rows: Any, device: str) -> float:
    with average.applied(model):
        found = embed(model, tokens[rows], device)
    return float((found * targets[torch.from_numpy(rows)].cpu()).sum(1).mean())
