"""Stage 6: how far windows agree with crops, measured and written into the bundle, whose weights stay as they are.

``python -m training.builtin.agreement`` measures on photographs of ``../shared/data/dev``, of which only the numbers go
into the bundle. ``mode="auto"`` goes by them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import fastconcept as fc
from fastconcept.bundle import MANIFEST
from fastconcept.encoders.decode import load_image
from fastconcept.files import whole_file
from fastconcept.saliency.agreement import LEAST_PHOTOGRAPHS, holds, measure_agreement

from .bundle import SHIPPED


def measure(bundle: Path, shared: Path, photographs: int = LEAST_PHOTOGRAPHS) -> dict[str, dict[str, object]]:
    """Measure the modes of a bundle on some photographs, drawn with a fixed seed, and write the numbers into it.

    Parameters
    ----------
    bundle : Path
        Directory of the bundle; only its manifest is written.
    shared : Path
        Directory with ``data/dev``.
    photographs : int
    """
    engine = fc.load(bundle)
    files = sorted((shared / "data" / "dev" / "images").glob("*.jpg"))
    drawn = sorted(np.random.default_rng(0).permutation(len(files))[:photographs].tolist())
    towers = {mode: engine.parts.image_tower(mode) for mode in engine.parts.modes}
    images = (load_image(files[index]) for index in drawn)
    agreement = measure_agreement(images, towers, engine.bank, engine.prepared_bank)
    manifest = replace(engine.bundle.manifest, agreement=agreement)
    with whole_file(bundle / MANIFEST) as stream:
        stream.write(manifest.to_json().encode())
    return agreement


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, and print the numbers and whether the gate of ``mode="auto"`` holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="directory with data/dev")
    parser.add_argument("--bundle", type=Path, default=SHIPPED, help="directory of the bundle")
    parser.add_argument("--photographs", type=int, default=LEAST_PHOTOGRAPHS, help="how many photographs")
    asked = parser.parse_args(arguments)
    agreement = measure(asked.bundle, asked.shared, asked.photographs)
    print(json.dumps({mode: {**entry, "holds": holds(entry)} for mode, entry in agreement.items()}, indent=1))


if __name__ == "__main__":
    main()
