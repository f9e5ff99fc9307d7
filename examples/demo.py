"""The main job on one photograph: where is each concept, and which words add up to it?

The model is the one inside the package. FASTCONCEPT_MODEL names another one (a directory with an open_clip
checkpoint, ``hf-hub:owner/name``, or ``NAME/TAG`` of open_clip); that is exported once, into demo/bundle, and needs
``pip install ".[export]"``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

OUT = Path("demo")
PHOTOS = Path(str(files("skimage.data")))  # CC0 photographs
CONCEPTS = ["cup.n.01", "spoon.n.01", "a wooden table"]


def main() -> int:
    """Run the commands a user would type, and say which pictures they wrote."""
    OUT.mkdir(exist_ok=True)
    photo = str(PHOTOS / "coffee.png")
    chosen = os.environ.get("FASTCONCEPT_MODEL")
    bundle = ["--bundle", str(export(chosen))] if chosen else []
    concepts = [part for concept in CONCEPTS for part in ("-c", concept)]
    run("explain", photo, *concepts, "-o", str(OUT / "explain.png"), *bundle)
    run("decompose", photo, "-o", str(OUT / "decompose.png"), *bundle)
    return 0


def export(chosen: str) -> Path:
    """The bundle of the chosen model, exported if it is not there yet."""
    target = OUT / "bundle"
    if (target / "manifest.json").is_file():
        return target
    if Path(chosen).is_dir():
        model = [f"local-dir:{chosen}"]
    elif ":" in chosen:
        model = [chosen]
    else:
        name, _, tag = chosen.partition("/")
        model = [name, *(["--pretrained", tag] if tag else [])]
    roots = "artifact.n.01,animal.n.01,plant.n.02,food.n.01"
    run("export", *model, "--roots", roots, "--mean-images", str(PHOTOS), "-o", str(target))
    return target


def run(*arguments: str) -> None:
    """Print a command and run it."""
    print("$ fastconcept", *(f'"{part}"' if " " in part else part for part in arguments), flush=True)
    command = Path(sys.executable).with_name("fastconcept")
    subprocess.run([command, *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
