"""Checkpoints of the built-in model: one safetensors file in half precision, and this loader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .tower import DIM, CaptionBranch, ImageTower, PeopleProbe, TextAdapter
from .trunk import empty_trunk

FOLDER = Path(__file__).with_name("checkpoint")
FILE = "model.safetensors"
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 192, "heads": 3, "layers": 2}


@dataclass
class Model:
    """Both towers; `text` is open_clip's transformer, whose unit rows go through `adapter`."""

    image: ImageTower
    text: Any
    adapter: TextAdapter


def empty_text_tower() -> Any:
    """Return open_clip's text transformer in the layout of the built-in model, untrained."""
    from open_clip.transformer import TextTransformer

    return TextTransformer(**TEXT, output_dim=DIM)


def save(model: Model, path: Path) -> None:
    """Write a checkpoint: matrices in half precision, vectors (biases, batch norms) in full.

    Parameters
    ----------
    model : Model
    path : Path
        A file, or a directory that gets ``model.safetensors``.
    """
    from safetensors.torch import save_file

    path = path if path.suffix else path / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = {"image": model.image, "text": model.text, "adapter": model.adapter}
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    half = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
    save_file({key: value.contiguous() for key, value in half.items()}, path)


def load(path: Path = FOLDER) -> Model:
    """Return a checkpoint's model in full precision, in evaluation mode.

    Parameters
    ----------
    path : Path
        A file, or a directory that holds ``model.safetensors``. A file with the text tower only, as stage 1 writes it,
        has an image tower and an adapter without training.
    """
    from safetensors.torch import load_file

    state = load_file(path if path.suffix else path / FILE)
    image = ImageTower(empty_trunk(), CaptionBranch(), PeopleProbe(), torch.zeros(1000, DIM), torch.zeros(DIM))
    model = Model(image, empty_text_tower(), TextAdapter())
    for name, part in (("image", model.image), ("text", model.text), ("adapter", model.adapter)):
        own = {
            key.removeprefix(f"{name}."): value.float() for key, value in state.items() if key.startswith(f"{name}.")
        }
        if own:
            part.load_state_dict(own)
        part.eval()
    return model
