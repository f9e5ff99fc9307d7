"""Engine.warmup: everything is open afterwards, and what cannot be warmed up is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import fastconcept as fc
from fastconcept.errors import InputError

OPENED = ("image_encoder", "text_encoder", "bank", "prepared_bank", "dictionary", "image_mean")


def test_everything_is_open_and_each_part_is_timed(tiny_bundle: Path) -> None:
    engine = fc.load(tiny_bundle)
    assert not engine.parts.opened()
    spent = engine.warmup([(60, 80)], stride=64)
    assert set(OPENED) == set(engine.parts.opened())
    assert list(spent) == ["load", "explain", "decompose"] and all(ms > 0 for ms in spent.values())
    opened = engine.parts.opened()
    engine.explain(tiny_photo(), "cat.n.01", stride=64)
    engine.decompose(tiny_photo())
    assert all(engine.parts.opened()[name] is part for name, part in opened.items())


def tiny_photo() -> object:
    from PIL import Image

    return Image.linear_gradient("L").convert("RGB").resize((80, 60))


def test_every_size_concept_and_batch_is_run(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, explained, decomposed = fc.load(tiny_bundle), [], []
    explain, decompose = engine.explain, engine.decompose
    monkeypatch.setattr(engine, "explain", lambda i, c, **o: explained.append((i.shape, c, o)) or explain(i, c, **o))
    monkeypatch.setattr(engine, "decompose", lambda i, l0: decomposed.append((len(i), l0)) or decompose(i, l0=l0))
    engine.warmup([(50, 70), (70, 50)], concepts=["cat.n.01"], batch=3, l0=2, stride=64)
    assert explained == [((h, w, 3), ["cat.n.01"], {"stride": 64}) for h, w in ((50, 70), (70, 50))]
    assert decomposed == [(3, 2)]


def test_a_bundle_without_bank_or_dictionary(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(tiny_bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "banks": {}, "dictionaries": {}}))
    assert list(fc.load(folder).warmup()) == ["load"]


@pytest.mark.parametrize("sizes", [[(0, 5)], [(5,)], ["ab"], [(1.5, 2)], [(100_000, 100_000)]])
def test_bad_sizes(tiny_bundle: Path, sizes: list[object]) -> None:
    with pytest.raises(InputError, match="images must be"):
        fc.load(tiny_bundle).warmup(sizes)


@pytest.mark.parametrize("batch", [0, True, 2.0, 5000])
def test_bad_batches(tiny_bundle: Path, batch: object) -> None:
    with pytest.raises(InputError, match="batch must be"):
        fc.load(tiny_bundle).warmup(batch=batch)
