"""Agreement of modes: equal maps agree perfectly, other maps less, and what has no windows says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.datasets.dataset import Dataset, open_dataset
from fastconcept.encoders.split import SplitEncoder
from fastconcept.errors import InputError
from fastconcept.evaluate.modes import modes
from fastconcept.saliency.layout import Layout
from tests.saliency.test_windows import PREPROCESS, CellMeans, Project, Whole

# On whole cells a trunk without context gives the same rows either way.
EQUAL = Layout(sizes=(32,), stride=8, short_side=96, border="constant")


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> fc.Engine:
    """A tower of one cell's sight, and the felines of WordNet in random directions."""
    taxonomy = fc.load(tiny_bundle).bank.taxonomy
    assert taxonomy is not None
    rows = np.random.default_rng(0).standard_normal((len(taxonomy), 5))
    return fc.Engine.from_parts(
        embedding_dim=5,
        preprocess=PREPROCESS,
        image_encoder=Whole(),
        split_encoder=SplitEncoder(CellMeans(), Project()),
        bank=fc.ConceptBank(rows, taxonomy=taxonomy),
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three pictures of smooth colour with a labelled box."""
    lines = ["path,label,x0,y0,x1,y1"]
    for k in range(3):
        coarse = np.random.default_rng(k).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((128, 96)).save(tmp_path / f"{k}.png")
        lines.append(f"{k}.png,lion.n.01,10,10,60,60")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    return open_dataset(tmp_path / "boxes.csv")


def test_equal_rows_agree_perfectly(engine: fc.Engine, dataset: Dataset) -> None:
    result = modes(engine, dataset, modes=["windows"], layout=EQUAL)
    assert [(a.mode, a.concepts) for a in result.agreements] == [("windows", "present"), ("windows", "absent")]
    for agreement in result.agreements:
        assert agreement.maps == 3 and agreement.spearman > 0.999 and agreement.box > 0.95 and agreement.peak == 1
    assert set(result.milliseconds) == {"crops", "windows"} and result.images == 3
    report = result.report({}).to_markdown()
    assert "windows" in report and "Spearman" in report


def test_other_patches_agree_less(engine: fc.Engine, dataset: Dataset) -> None:
    result = modes(engine, dataset, layout=Layout(sizes=(48, 32), stride=16))
    assert all(agreement.spearman < 0.9999 for agreement in result.agreements)


def test_bad_questions(engine: fc.Engine, dataset: Dataset, tiny_bundle: Path) -> None:
    for wrong, reason in ((["crops"], "modes must be"), (["other"], "mode must be"), ([], "modes must be")):
        with pytest.raises(InputError, match=reason):
            modes(engine, dataset, modes=wrong)
    with pytest.raises(InputError, match="does not pool"):
        modes(fc.load(tiny_bundle), dataset, modes=["windows"], layout=Layout(stride=64))
