"""Fixtures that every room's tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tests.once import made_once
from tests.planted import planted, write_rows

__all__ = ["planted", "write_rows"]  # fixtures

# Threads of torch that wait by spinning take the processor from each other: beside one busy process, a test of
# training takes 71 s instead of 2. Read once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("FASTCONCEPT_SHARED", ROOT.parent / "shared"))
_EXPORT_SOURCES = (
    "export/*.py",
    "fastconcept/bundle.py",
    "fastconcept/encoders/*.py",
    *(f"fastconcept/concepts/{room}.py" for room in ("bank", "embeddings", "storage")),
    "fastconcept/sparse/dictionary.py",
)
_TINY_MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data beside the project; tests that need it skip where it is absent."""
    if not (SHARED / "reference").is_dir():
        pytest.skip(f"development data not found at {SHARED} (set FASTCONCEPT_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """A cat, a cup of coffee, a rocket, an astronaut and a motorcycle: photographs that scikit-image brings along."""
    names = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png")
    return [Path(str(files("skimage.data") / name)) for name in names]


@pytest.fixture(scope="session")
def write_checkpoint() -> Callable[..., str]:
    """Writes a tiny random open_clip model, the same every time, and returns its ``local-dir:`` name."""
    return _write_checkpoint


def _write_checkpoint(folder: Path, changes: dict[str, Any] | None = None, **preprocess: Any) -> str:
    """``changes`` are merged into the configuration, one level deep."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config: dict[str, Any] = json.loads(json.dumps(_TINY_MODEL))
    for key, value in (changes or {}).items():
        config[key] = config.get(key, {}) | value if isinstance(value, dict) else value
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    (folder / "open_clip_config.json").write_text(text)
    custom = config.pop("custom_text", False)
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = kind(**config)
        for parameter in network.parameters():  # a few are left uninitialised by their constructors
            if parameter.ndim and not parameter.detach().abs().max() < 100:
                torch.nn.init.normal_(parameter, std=0.02)
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, str(folder / "open_clip_model.safetensors"))
    return f"local-dir:{folder}"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random ViT as ``local-dir:``, 32 pixels in, 32 dimensions out."""
    return _write_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny model: the felines of WordNet, eight phrases, a dictionary of 40 words, an image mean."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("tiny-inputs")
    phrases = ["a red ball", "a blue ball", "a dog", "two dogs", "the sea", "a house", "a tree", "night"]
    (folder / "phrases.txt").write_text("\n".join(phrases))
    rng = np.random.default_rng(0)
    for index in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(folder / f"{index}.png")
    chosen: dict[str, Any] = {"roots": ["feline.n.01"], "phrases": folder / "phrases.txt", "vocabulary_size": 40}
    return _cached_export("tiny", tiny_checkpoint, chosen | {"mean_images": folder})


@pytest.fixture(scope="session")
def teacher_bundle(shared: Path) -> Path:
    """A bundle of the teacher with ConVis's synsets, SpLiCE's words and a mean over 300 photographs."""
    chosen: dict[str, Any] = {
        "words": shared / "reference/physical_objects.txt",
        "vocabulary": shared / "reference/splice/laion.txt",
        "mean_images": shared / "data/dev/images",
        "mean_limit": 300,
    }
    with pytest.MonkeyPatch.context() as patch:  # modes are compared elsewhere: here that would take minutes
        patch.setattr("fastconcept.export.writer.LEAST_PHOTOGRAPHS", 10_000)
        return _cached_export("teacher", f"local-dir:{shared / 'models/teacher'}", chosen, dense=())


def _cached_export(name: str, model: str, chosen: dict[str, Any], **options: Any) -> Path:
    """Export into ``.cache`` unless the same code has exported the same model there before."""
    from fastconcept.export import Contents, export_open_clip

    sources = [path for pattern in _EXPORT_SOURCES for path in sorted(ROOT.glob(pattern))]
    checkpoint = sorted(Path(model.removeprefix("local-dir:")).glob("open_clip_*"))
    inputs = [value for value in chosen.values() if isinstance(value, Path) and value.is_file()]
    return made_once(
        name,
        [*sources, *checkpoint, *inputs, Path(__file__)],
        lambda target: export_open_clip(model, target, contents=Contents(**chosen), **options),
    )
