"""One page about photographs: every concept it chooses is drawn, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastconcept.datasets.images import find_images
from fastconcept.engine import Engine
from fastconcept.errors import ImageError
from fastconcept.report.page import page
from fastconcept.report.sight import look
from tests.self_contained import check_self_contained


def test_a_page_about_images(planted: Engine, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (80, 120, 3), np.uint8)).save(tmp_path / "x<y>.png")
    (tmp_path / "broken.png").write_bytes(b"no")
    (tmp_path / "notes.txt").write_text("not an image")
    paths = find_images(tmp_path)
    assert [Path(path).name for path in paths] == ["broken.png", "x<y>.png"]
    sight = look(planted, paths[1], "x<y>.png")
    document = page([sight], "model", [("broken.png", "not an image")])
    tags = check_self_contained(document)
    drawn = sum(len(level.maps) for level in sight.levels)
    assert drawn >= 2 and [tag for tag, _ in tags.seen].count("figure") == drawn
    assert "x&lt;y&gt;.png" in document and "broken.png" in document
    similarities = planted.bank.embeddings @ planted.encode_image(paths[1])[0]
    assert sight.scores[0][0] == planted.bank.names[int(similarities.argmax())]
    assert [score for _, _, score, _ in sight.scores] == sorted((s for _, _, s, _ in sight.scores), reverse=True)
    for level in sight.levels:
        names = [concept.name for concept in level.maps]
        assert len(set(names)) == len(names)
    with pytest.raises(ImageError):
        look(planted, paths[0], "broken.png")
