"""Train nano's image tower onto the teacher's view of every crop."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .average import Average
from .crops import Batches, Crops
from .depthwise import speed_up
from .model import create, read_tower
from .objective import Objective, pooled_and_embedded
from .photos import load_photos
from .schedule import Schedule, stage
from .texts import class_targets, imagenet_classes, own_class_targets
from .zeroshot import load_views, top1


def train_image(
    config: dict[str, Any],
    shared: Path,
    out: Path,
    device: str,
    hours: float,
    tiny: Path | None = None,
    more: Path | None = None,
    start: Path | None = None,
) -> None:
    """Train (or go on training) until the deadline; the average of the weights goes to ``image.pt``.

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
    tiny, more : Path or None
        Git directory of Tiny ImageNet, and directory of further photographs; see :func:`load_photos`.
    start : Path or None
        Checkpoint whose tower a fresh run begins with.
    """
    settings, folder = config["image"], out / "image"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config["seed"])
    photos = load_photos(shared, out, tiny, [c["wnid"] for c in imagenet_classes(shared)], more, device)
    print(f"{len(photos.large)} photographs and {len(photos.small)} small ones", flush=True)
    share = config["text"]["definition_share_of_names"]
    targets = class_targets(shared, out, device, share)
    if (out / "text.pt").exists():
        targets |= own_class_targets(config, shared, out)
    targets = {name: rows.to(device) for name, rows in targets.items()}
    model = create(config).visual
    objective = Objective(targets, settings, model.trunk.get_classifier().in_features).to(device)
    if start is not None:
        model.load_state_dict(read_tower(start, "image"))
    model = model.to(device).to(memory_format=torch.channels_last).train()
    if device == "cpu":
        speed_up(model)
    trained = [*model.parameters(), *objective.parameters()]
    decayed, plain = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings["weight_decay"]}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0, betas=(0.9, 0.99), fused=True)
    average = Average(model, settings["ema_decay"])
    resume, progress, step, seen = folder / "resume.pt", 0.0, 0, 0
    if resume.exists():
        saved = torch.load(resume, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        objective.load_state_dict(saved["objective"])
        optimizer.load_state_dict(saved["optimizer"])
        average.restore(saved["average"])
        progress, step, seen = saved["progress"], saved["step"], saved["seen"]
    normal = (config["preprocess_cfg"]["mean"], config["preprocess_cfg"]["std"])
    resolution = torch.tensor(stage(settings["resolutions"], progress)).share_memory_()
    make = partial(Crops, photos, settings, *normal, config["seed"] + step, device)
    batches = Batches(make, settings["batch_size"], resolution)
    workers = {"num_workers": 1, "prefetch_factor": 4, "multiprocessing_context": "fork"} if device == "cpu" else {}
    stream = iter(torch.utils.data.DataLoader(batches, batch_size=None, **workers))
    views = load_views(shared, out, config["model_cfg"]["vision_cfg"]["image_size"], *normal)
    schedule = Schedule(folder, hours, progress)
    log = (folder / "log.jsonl").open("a")
    wrote, mark, losses = time.time(), (time.time(), seen), []

    def record() -> None:
        """Measure the average of the weights, log it, and write it and what a later call goes on from."""
        row = {
            "step": step,
            "seen": seen,
            "progress": round(schedule.progress, 4),
            "loss": float(np.mean(losses[-200:])),
        }
        row |= _measure(model, average, views, targets, device)
        log.write(json.dumps(row) + "\n")
        log.flush()
        print(row, flush=True)
        _write(average.state, out / "image.pt")
        state = {"model": model.state_dict(), "objective": objective.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"average": average.saved(), "progress": schedule.progress, "step": step, "seen": seen}
        _write(state, resume)

    while schedule.advance() < 1:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(settings["learning_rate"], settings["warmup"])
        resolution.fill_(stage(settings["resolutions"], schedule.progress))
        batch = next(stream)
        loss = objective(*pooled_and_embedded(model, batch.images), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decayed, 2.0)
        optimizer.step()
        if step % 4 == 0:
            average.update(model)
        step, seen = step + 1, seen + len(batch.images)
        losses.append(float(loss.detach()))
        if step % 100 == 0:
            rate = (seen - mark[1]) / (time.time() - mark[0])
            mark = (time.time(), seen)
            print(
                f"image step {step} seen {seen} progress {schedule.progress:.3f} px {batch.images.shape[-1]} "
                f"lr {optimizer.param_groups[0]['lr']:.5f} loss {np.mean(losses[-200:]):.4f} images/s {rate:.0f}",
                flush=True,
            )
        if time.time() - wrote > 300:
            wrote = time.time()
            record()
    if losses:
        record()


def _write(state: dict[str, Any], path: Path) -> None:
    torch.save(state, f"{path}.partial")
    Path(f"{path}.partial").rename(path)


@torch.no_grad()
def _measure(
    model: Any, average: Average, views: Any, targets: dict[str, torch.Tensor], device: str
) -> dict[str, float]:
    """Zero-shot accuracy of the averaged weights on the evaluation photographs, against the teacher's texts."""
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.state)
    model.eval()
    pixels, classes = views
    found = torch.cat([torch.nn.functional.normalize(model(batch.to(device)), dim=1) for batch in pixels.split(128)])
    model.load_state_dict(kept)
    model.train()
    return {
        "top1_definition": top1(found, targets["definition"], classes),
        "top1_prompt": top1(found, targets["prompt"], classes),
    }
