"""The main job on one photograph: where is each concept, and which words add up to it?

The model is what FASTCONCEPT_MODEL names (a directory with an open_clip checkpoint, ``hf-hub:owner/name``, or
``NAME/TAG`` of open_clip); by default the development model where it lies beside the project, else ViT-B-32 of
LAION-2B from the hub. It is exported once, into demo/bundle.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

OUT = Path("demo")
SHARED = Path("../shared")
PHOTOS = Path(str(files("skimage.data")))  # CC0 photographs
CONCEPTS = ["cup.n.01", "spoon.n.01", "a wooden table"]


def main() -> int:
    """Run the commands a user would type, and say which pictures they wrote."""
    OUT.mkdir(exist_ok=True)
    photo = str(PHOTOS / "coffee.png")
    bundle = ["--bundle", str(export())]
    concepts = [part for concept in CONCEPTS for part in ("-c", concept)]
    run("explain", photo, *concepts, "--score", "log-rank", "-o", str(OUT / "explain.png"), *bundle)
    run("decompose", photo, "-o", str(OUT / "decompose.png"), *bundle)
    return 0


def export() -> Path:
    """The bundle of the chosen model, exported if it is not there yet."""
    target = OUT / "bundle"
    if (target / "manifest.json").is_file():
        return target
    teacher = SHARED / "models/teacher"
    chosen = os.environ.get("FASTCONCEPT_MODEL") or (
        str(teacher) if teacher.is_dir() else "ViT-B-32/laion2b_s34b_b79k"
    )
    if Path(chosen).is_dir():
        model = [f"local-dir:{chosen}"]
    elif ":" in chosen:
        model = [chosen]
    else:
        name, _, tag = chosen.partition("/")
        model = [name, *(["--pretrained", tag] if tag else [])]
    run("export", *model, *ingredients(), "-o", str(target))
    return target


def ingredients() -> list[str]:
    """Word lists and images for the mean: the development data where it is at hand, else what every machine has."""
    if not (SHARED / "reference").is_dir():
        return ["--roots", "artifact.n.01,animal.n.01,plant.n.02,food.n.01", "--mean-images", str(PHOTOS)]
    reference = SHARED / "reference"
    words = ["--words", str(reference / "physical_objects.txt")]
    vocabulary = ["--vocabulary", str(reference / "splice/laion.txt")]
    return [*words, *vocabulary, "--mean-images", str(SHARED / "data/dev/images"), "--mean-limit", "300"]


def run(*arguments: str) -> None:
    """Print a command and run it."""
    print("$ fastconcept", *(f'"{part}"' if " " in part else part for part in arguments), flush=True)
    command = Path(sys.executable).with_name("fastconcept")
    subprocess.run([command, *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
