"""The main job on one photograph: where is each concept, and which words add up to it?

Uses the built-in bundle; or, if FASTCONCEPT_MODEL names an open_clip model, that model's bundle (exported once).
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

OUT = Path("demo")
CONCEPTS = ["feline.n.01", "dog.n.01", "a striped pet"]


def main() -> int:
    """Run the same commands a user would type, and say which pictures they wrote."""
    OUT.mkdir(exist_ok=True)
    photo = OUT / "chelsea.png"
    photo.write_bytes(files("skimage.data").joinpath("chelsea.png").read_bytes())
    bundle: list[str] = []
    if model := os.environ.get("FASTCONCEPT_MODEL"):
        bundle = ["--bundle", str(export(model))]
    concepts = [part for concept in CONCEPTS for part in ("-c", concept)]
    run("explain", str(photo), *concepts, "-o", str(OUT / "explain.png"), *bundle)
    run("decompose", str(photo), "-o", str(OUT / "decompose.png"), *bundle)
    return 0


def export(model: str) -> Path:
    """The bundle of an open_clip model; its image mean comes from scikit-image's few photographs: enough to look at."""
    target = OUT / "bundle"
    if not (target / "manifest.json").is_file():
        name, _, tag = model.partition("/") if ":" not in model else (model, "", "")
        tags = ["--pretrained", tag] if tag else []
        run("export", name, *tags, "--mean-images", str(files("skimage.data")), "-o", str(target))
    return target


def run(*arguments: str) -> None:
    """Print a command and run it."""
    print("$ fastconcept", *arguments, flush=True)
    command = Path(sys.executable).with_name("fastconcept")
    subprocess.run([command, *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
