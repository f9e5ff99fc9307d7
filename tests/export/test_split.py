"""A tower that pools a feature map is also exported as trunk and head, which share the weights of the whole."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm

import fastconcept as fc
from fastconcept.export.build import export_open_clip
from fastconcept.export.contents import Contents

CONVNEXT = {
    "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 64}
}


@pytest.fixture(scope="module")
def convnext(write_checkpoint: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compact bundle of a tiny random ConvNeXt."""
    folder = tmp_path_factory.mktemp("convnext")
    model = write_checkpoint(folder / "model", {**CONVNEXT, "custom_text": True, "text_cfg": {"layers": 1}})
    contents = Contents(roots=["big_cat.n.01"], vocabulary_size=0)
    export_open_clip(model, folder / "bundle", contents=contents, compact=True, progress=False)
    return folder / "bundle"


def test_windows_of_a_convnet_share_the_weights_of_its_encoder(convnext: Path) -> None:
    bundle = fc.load(convnext).bundle
    split = bundle.manifest.split
    assert split is not None and split.stride == 32
    sizes = {name: size for name, (_, size) in bundle.manifest.files.items()}
    whole = sum(p.numel() for p in timm.create_model("test_convnext", num_classes=0).parameters())
    assert 1.8 * whole < sizes[split.weights or ""] < 2.5 * whole  # 16 bits each, once
    bundle.verify()

    engine = fc.load(bundle.path)
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    pixels = np.random.default_rng(1).standard_normal((3, 3, 64, 64), np.float32)
    parts = engine.parts.image_tower("windows").split
    assert parts is not None
    rows = parts.head.encode(parts.maps.encode(pixels).mean(axis=(2, 3)))
    np.testing.assert_allclose(rows, engine.image_encoder.encode(pixels), atol=1e-5)
    seen = engine.explain(image, ["big_cat.n.01", "lion.n.01"], mode="windows", stride=32)
    assert seen.mode == "windows" and seen.maps.shape[0] == 2 and np.isfinite(seen.maps).all()


def test_damaged_weights_are_noticed(convnext: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(convnext, copy)
    weights = copy / "image_encoder.onnx.data"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(fc.errors.BundleError, match="damaged"):
        _ = fc.load(copy).image_encoder


def test_a_vision_transformer_has_no_windows(
    tiny_checkpoint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, finished_towers: None
) -> None:
    contents = Contents(roots=["cat.n.01"], vocabulary_size=0)
    with caplog.at_level(logging.WARNING):
        bundle = export_open_clip(tiny_checkpoint, tmp_path / "tiny", contents=contents, dense=(), progress=False)
    assert bundle.manifest.split is None and not caplog.records
    assert not list((tmp_path / "tiny").glob("image_trunk*"))


def test_tensorflows_padding_is_the_same_for_whole_cells() -> None:
    import torch

    from fastconcept.export.split import fix_padding

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    expected = [model.forward_features(torch.ones(1, 3, 64, side)) for side in (64, 96)]
    assert fix_padding(model) and not [m for m in model.modules() if type(m).__name__.endswith("Same")]
    for maps, side in zip(expected, (64, 96), strict=True):
        torch.testing.assert_close(model.forward_features(torch.ones(1, 3, 64, side)), maps)
