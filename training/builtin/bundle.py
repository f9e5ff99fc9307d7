"""The bundle that ships inside the package, from nano's checkpoint: ``python -m training.builtin.bundle``.

The ordinary export, compact, with concepts and words of our own choice. The image mean is over photographs of the
training pack, none of which is an evaluation photograph.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastconcept.bundle import MANIFEST, Bundle, sha256_of
from fastconcept.engine import load
from fastconcept.export import Contents, export_open_clip
from fastconcept.sparse.dictionary import Dictionary

from .photos import pack_photos
from .things import things, words

CHECKPOINT = Path(__file__).with_name("checkpoint")
SHIPPED = Path(__file__).parents[2] / "fastconcept" / "data" / "nano"
LICENCES = (
    "nano: Apache-2.0; its training photographs have terms of their own, the strictest allow non-commercial research "
    "and education (training/builtin/MODEL_CARD.md)",
)


def build(shared: Path, checkpoint: Path = CHECKPOINT, target: Path = SHIPPED, mean_photos: int = 4000) -> Bundle:
    """Export the checkpoint and return the finished bundle.

    Parameters
    ----------
    shared : Path
        Directory with ``train/``.
    checkpoint, target : Path
        open_clip checkpoint directory, and directory of the bundle; what is there is replaced.
    mean_photos : int
        Photographs of the training pack that the image mean is over, drawn with a fixed seed.
    """
    with tempfile.TemporaryDirectory() as folder:
        concepts, photos = Path(folder) / "convis.txt", Path(folder) / "photos"
        concepts.write_text("\n".join(things()))
        photos.mkdir()
        every = list(pack_photos(shared))
        chosen = np.random.default_rng(0).permutation(len(every))[:mean_photos]
        for i in sorted(chosen.tolist()):
            name, data = every[i]
            (photos / f"{name}.jpg").write_bytes(data)
        contents = Contents(synsets=concepts, mean_images=photos)
        made = export_open_clip(f"local-dir:{checkpoint}", target, contents=contents, compact=True, overwrite=True)
    extra = _write_words(made)
    manifest = dataclasses.replace(
        made.manifest,
        model="nano",
        licences=(*LICENCES, *made.manifest.licences),
        dictionaries={"things": extra, **made.manifest.dictionaries},
        files={**made.manifest.files, extra: (sha256_of(target / extra), (target / extra).stat().st_size)},
    )
    (target / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle(target)


def _write_words(bundle: Bundle) -> str:
    """Add the default dictionary: words of things; of the 10,000 most tagged nouns most name nothing one could see."""
    name = "dictionaries/things.safetensors"
    chosen = words()
    Dictionary.from_embeddings(chosen, load(bundle.path).encode_text(chosen)).save(bundle.path / name, half=True)
    return name


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, build, and print the size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="directory with train/")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="open_clip checkpoint directory")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="directory of the bundle")
    asked = parser.parse_args(arguments)
    bundle = build(asked.shared, asked.checkpoint, asked.out)
    total = sum(size for _, size in bundle.manifest.files.values())
    print(f"{bundle.path}: {total / 1e6:.1f} MB, parity {bundle.manifest.parity['min_cosine']:.6f}")


if __name__ == "__main__":
    main()
