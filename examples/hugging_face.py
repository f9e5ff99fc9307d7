"""Export a CLIP model of Hugging Face transformers, which open_clip does not load: ``python examples/hugging_face.py``.

    pip install ".[cpu,export]" transformers
    python examples/hugging_face.py openai/clip-vit-base-patch32 clip-bundle
    fastconcept explain photo.jpg -c dog.n.01 --bundle clip-bundle

:func:`export_clip_model` is the part to copy for a model of your own: two modules that return rows, the tokenizer, and
the numbers of the preprocessing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from fastconcept.bundle import Bundle
from fastconcept.export import Contents, Preprocess, export_model


class ImageTower(torch.nn.Module):
    """Normalised pixels (n, 3, h, w) to embeddings (n, d)."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.vision, self.projection = clip.vision_model, clip.visual_projection

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.projection(self.vision(pixel_values=pixels).pooler_output)


class TextTower(torch.nn.Module):
    """Token ids (n, context_length) to embeddings (n, d)."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.text, self.projection = clip.text_model, clip.text_projection

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.projection(self.text(input_ids=tokens).pooler_output)


def export_clip_model(
    clip: Any, tokenizer: Any, preprocess: Preprocess, out: str | Path, name: str, contents: Contents | None = None
) -> Bundle:
    """Export a ``transformers.CLIPModel`` with its fast tokenizer."""
    return export_model(
        image=ImageTower(clip),
        text=TextTower(clip),
        tokenizer=tokenizer,
        preprocess=preprocess,
        out=out,
        name=name,
        context_length=clip.config.text_config.max_position_embeddings,
        logit_scale=float(clip.logit_scale.detach().exp()),
        dense=["clearclip"],
        contents=contents,
    )


def read_preprocess(processor: Any) -> Preprocess:
    """The numbers of a ``transformers.CLIPImageProcessor``."""
    crop = processor.crop_size
    return Preprocess(
        size=(crop["height"], crop["width"]),
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        interpolation="bilinear" if int(processor.resample) == 2 else "bicubic",
    )


def main(model: str, out: str) -> None:
    """Export a model of the hub, with a bank of animals and a dictionary of 1,000 nouns."""
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    clip = CLIPModel.from_pretrained(model, attn_implementation="eager")
    preprocess = read_preprocess(CLIPImageProcessor.from_pretrained(model))
    contents = Contents(roots=["animal.n.01"], vocabulary_size=1000)
    print(export_clip_model(clip, AutoTokenizer.from_pretrained(model), preprocess, out, model, contents))


if __name__ == "__main__":
    main(*sys.argv[1:])
