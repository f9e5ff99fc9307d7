"""Train nano: ``python -m training.builtin.train --shared ../shared --out DIR --device cpu --hours 2.5``.

Both towers regress onto a fixed space, so they train apart: the text tower first (a quarter of the time), then the
image tower. Calling the command again with the same ``--out`` resumes. The checkpoint is ``DIR/checkpoint``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .model import create, read_config, write_checkpoint
from .train_image import train_image
from .train_text import train_text

TEXT_SHARE = 0.25


def assemble(config: dict[str, Any], out: Path, folder: Path, half: bool = True) -> None:
    """Join the latest averages of both towers (``text.pt``, ``image.pt``) into one open_clip checkpoint."""
    model = create(config)
    state = model.state_dict()
    state.update(torch.load(out / "text.pt", map_location="cpu", weights_only=True))
    image = torch.load(out / "image.pt", map_location="cpu", weights_only=True)
    state.update({f"visual.{name}": value for name, value in image.items()})
    state["logit_scale"] = torch.tensor(20.0).log()
    model.load_state_dict(state)
    write_checkpoint(model, config, folder, half)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared"), help="directory with models/teacher, train, data"
    )
    parser.add_argument("--out", type=Path, required=True, help="working directory: caches, logs, checkpoint")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--hours", type=float, default=2.5, help="time for the towers asked for")
    parser.add_argument("--towers", choices=["text", "image", "both", "assemble"], default="both")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: as torch chooses)")
    parser.add_argument("--tiny", type=Path, help="git directory of Tiny ImageNet (train/WNID/images/*.JPEG)")
    parser.add_argument("--more", type=Path, help="directory of further photographs (part-*.npy)")
    parser.add_argument("--start", type=Path, help="checkpoint that a fresh run begins with, instead of noise")
    parser.add_argument("--config", type=Path, help="another config.json")
    asked = parser.parse_args(arguments)
    if asked.threads:
        torch.set_num_threads(asked.threads)
    config = read_config(asked.config)
    asked.out.mkdir(parents=True, exist_ok=True)
    both = asked.towers == "both"
    if asked.towers in ("text", "both"):
        hours = asked.hours * (TEXT_SHARE if both else 1)
        train_text(config, asked.shared, asked.out, asked.device, hours, asked.start)
    if asked.towers in ("image", "both"):
        hours = asked.hours * (1 - TEXT_SHARE if both else 1)
        train_image(config, asked.shared, asked.out, asked.device, hours, asked.tiny, asked.more, asked.start)
    if (asked.out / "text.pt").exists() and (asked.out / "image.pt").exists():
        assemble(config, asked.out, asked.out / "checkpoint")


if __name__ == "__main__":
    main()
