"""The main job on four photographs: where is each concept, and which words add up to the picture?

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
CONCEPTS = {
    "coffee.png": ["cup.n.01", "saucer.n.02", "a wooden table"],
    "chelsea.png": ["feline.n.01", "eye.n.01", "a striped pet"],
    "motorcycle_left.png": ["motorcycle.n.01", "wheel.n.01", "a garage"],
    "astronaut.png": ["person.n.01", "flag.n.01", "a space shuttle"],
}


def main() -> int:
    """Run the commands a user would type, and say which pictures they wrote."""
    OUT.mkdir(exist_ok=True)
    chosen = os.environ.get("FASTCONCEPT_MODEL")
    bundle = ["--bundle", str(export(chosen))] if chosen else []
    for file, concepts in CONCEPTS.items():
        photo, name = str(PHOTOS / file), file.removesuffix(".png")
        asked = [part for concept in concepts for part in ("-c", concept)]
        run("explain", photo, *asked, "-o", str(OUT / f"{name}-explain.png"), *bundle)
        run("decompose", photo, "-o", str(OUT / f"{name}-decompose.png"), *bundle)
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
