"""Does an installed wheel work by itself? Run it with a Python that has only the wheel, outside the checkout.

It explains and decomposes an image with the built-in model through the command line, and fails if the package comes
from a checkout, needs a compiler, or carries what only its makers use.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from PIL import Image


def fastconcept(*arguments: str, folder: str) -> dict[str, object]:
    """What a command prints with ``--json``, run where neither checkout nor compiler can be found."""
    command = str(Path(sys.executable).with_name("fastconcept"))
    environment = os.environ | {"CC": "false", "CXX": "false"}
    done = subprocess.run(
        [command, *arguments, "--json"], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    document: dict[str, object] = json.loads(done.stdout)
    return document


def main() -> None:
    spec = importlib.util.find_spec("fastconcept")
    assert spec is not None and spec.origin is not None
    assert "site-packages" in Path(spec.origin).parts, f"{spec.origin} is not an installed package"
    files = [str(path) for path in metadata.files("fastconcept") or ()]
    unwanted = [name for name in files if name.startswith(("training/", "tests/", "benchmarks/", "csrc/"))]
    assert not unwanted, unwanted
    assert [name for name in files if name.startswith("fastconcept/kernels/_cpu.")], "the compiled core is missing"
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        Image.radial_gradient("L").convert("RGB").save(image)
        explained = fastconcept("explain", str(image), "-c", "ball.n.01", "-o", "maps.png", folder=folder)
        decomposed = fastconcept("decompose", str(image), folder=folder)
        assert (Path(folder) / "maps.png").stat().st_size > 0 and explained and decomposed
    print(f"fastconcept {metadata.version('fastconcept')} explains and decomposes without a checkout or a compiler")


if __name__ == "__main__":
    main()
