"""Train nano's image tower onto the teacher's view of every crop."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .average import Average, write_state
from .crops import Batch, Batches, Crops
from .depthwise import speed_up
from .model import create, read_tower
from .objective import Objective, pooled_and_embedded
from .photos import load_photos
from .schedule import Schedule, stage
from .texts import class_targets, imagenet_classes, own_class_targets
from .zeroshot import load_views, top1


class Learner:
    """The image tower in training: weights, their average, objective and optimizer, and how far it has come.

    Parameters
    ----------
    config : dict
        See ``config.json``.
    targets : dict of Tensor
        Rows of the classes, see :class:`.objective.Objective`.
    device : str
        ``cpu`` or ``cuda``.
    start : Path or None
        Checkpoint whose tower it begins with.
    """

    def __init__(
        self, config: dict[str, Any], targets: dict[str, torch.Tensor], device: str, start: Path | None
    ) -> None:
        settings = config["image"]
        self.targets, self.device = {name: rows.to(device) for name, rows in targets.items()}, device
        tower = create(config).visual
        objective = Objective(self.targets, settings, tower.trunk.get_classifier().in_features)
        if start is not None:
            tower.load_state_dict(read_tower(start, "image"))
        self.tower = tower.to(device).to(memory_format=torch.channels_last).train()
        if device == "cpu":
            speed_up(self.tower)
        self.objective = objective.to(device)
        trained = [*self.tower.parameters(), *self.objective.parameters()]
        self._decayed, plain = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
        decay = settings["weight_decay"]
        groups = [{"params": self._decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=0, betas=(0.9, 0.99), fused=True)
        self.average = Average(self.tower, settings["ema_decay"])
        self.step, self.seen = 0, 0

    def learn(self, batch: Batch, rate: float) -> float:
        """Take one step at a learning rate and return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.objective(*pooled_and_embedded(self.tower, batch.images), batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._decayed, 2.0)
        self.optimizer.step()
        if self.step % 4 == 0:
            self.average.update(self.tower)
        self.step, self.seen = self.step + 1, self.seen + len(batch.images)
        return float(loss.detach())

    @torch.no_grad()
    def measure(self, views: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
        """Return the zero-shot accuracy of the averaged weights on photographs with classes."""
        pixels, classes = views
        with self.average.applied(self.tower):
            rows = torch.cat([self.tower(batch.to(self.device)) for batch in pixels.split(128)])
        found = torch.nn.functional.normalize(rows, dim=1)
        return {f"top1_{name}": top1(found, self.targets[name], classes) for name in ("definition", "prompt")}

    def save(self, path: Path, progress: float) -> None:
        """Write what a later call goes on from."""
        parts = {"model": self.tower, "objective": self.objective, "optimizer": self.optimizer}
        state: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
        state |= {"average": self.average.saved(), "progress": progress, "step": self.step, "seen": self.seen}
        write_state(state, path)

    def restore(self, path: Path) -> float:
        """Go on from a file of :meth:`save` and return the progress."""
        saved = torch.load(path, map_location=self.device, weights_only=True)
        self.tower.load_state_dict(saved["model"])
        self.objective.load_state_dict(saved["objective"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.average.restore(saved["average"])
        self.step, self.seen = saved["step"], saved["seen"]
        return float(saved["progress"])


class Journal:
    """What is printed and logged of a run, and when it is time to."""

    def __init__(self, path: Path, seen: int) -> None:
        self._log = path.open("a")
        self._losses: list[float] = []
        self._mark, self.recorded = (time.time(), seen), time.time()

    def note(self, loss: float, learner: Learner, progress: float, pixels: int) -> None:
        """Keep the loss of a step; print a line every hundred steps."""
        self._losses = [*self._losses[-199:], loss]
        if learner.step % 100:
            return
        rate = (learner.seen - self._mark[1]) / (time.time() - self._mark[0])
        self._mark = (time.time(), learner.seen)
        print(
            f"image step {learner.step} seen {learner.seen} progress {progress:.3f} px {pixels} "
            f"lr {learner.optimizer.param_groups[0]['lr']:.5f} loss {np.mean(self._losses):.4f} images/s {rate:.0f}",
            flush=True,
        )

    def record(self, learner: Learner, progress: float, accuracy: dict[str, float]) -> None:
        """Log how far the run has come and what its average reaches."""
        row = {"step": learner.step, "seen": learner.seen, "progress": round(progress, 4)}
        row |= {"loss": float(np.mean(self._losses))} | accuracy
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()
        print(row, flush=True)
        self.recorded = time.time()


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
    targets = class_targets(shared, out, device, config["text"]["definition_share_of_names"])
    if (out / "text.pt").exists():
        targets |= own_class_targets(config, shared, out)
    learner = Learner(config, targets, device, start)
    resume = folder / "resume.pt"
    schedule = Schedule(folder, hours, learner.restore(resume) if resume.exists() else 0.0)
    normal = (config["preprocess_cfg"]["mean"], config["preprocess_cfg"]["std"])
    resolution = torch.tensor(stage(settings["resolutions"], schedule.progress)).share_memory_()
    make = partial(Crops, photos, settings, *normal, config["seed"] + learner.step, device)
    batches = Batches(make, settings["batch_size"], resolution)
    workers = {"num_workers": 1, "prefetch_factor": 4, "multiprocessing_context": "fork"} if device == "cpu" else {}
    stream = iter(torch.utils.data.DataLoader(batches, batch_size=None, **workers))
    views = load_views(shared, out, config["model_cfg"]["vision_cfg"]["image_size"], *normal)
    journal = Journal(folder / "log.jsonl", learner.seen)
    begun = learner.step
    while schedule.advance() < 1:
        resolution.fill_(stage(settings["resolutions"], schedule.progress))
        batch = next(stream)
        loss = learner.learn(batch, schedule.rate(settings["learning_rate"], settings["warmup"]))
        journal.note(loss, learner, schedule.progress, batch.images.shape[-1])
        if time.time() - journal.recorded > 300:
            _keep(learner, journal, schedule.progress, views, out)
    if learner.step > begun:
        _keep(learner, journal, schedule.progress, views, out)


def _keep(learner: Learner, journal: Journal, progress: float, views: Any, out: Path) -> None:
    """Measure the averaged weights, and write them and what a later call goes on from."""
    journal.record(learner, progress, learner.measure(views))
    write_state(learner.average.state, out / "image.pt")
    learner.save(out / "image" / "resume.pt", progress)
