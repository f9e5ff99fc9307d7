"""What random inputs and people's reports have found, in its smallest form."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastconcept.datasets.items import BadRow
from fastconcept.encoders.decode import load_image
from fastconcept.errors import ImageError, InputError
from fastconcept.jobs.places import Folder
from fastconcept.jobs.plan import PLAN, Plan, Unit
from fastconcept.jobs.rows import read_rows

CASES = Path(__file__).parent


def cases(folder: str) -> list[Path]:
    return sorted((CASES / folder).iterdir())


@pytest.mark.parametrize("path", cases("pictures"), ids=lambda path: path.name)
def test_pictures(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if path.name.startswith("read"):
        assert load_image(path).shape == (2, 2, 3)
    else:
        with pytest.raises(ImageError):
            load_image(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path", cases("tars"), ids=lambda path: path.name)
def test_tars(path: Path, tmp_path: Path) -> None:
    unit = Unit("tar", str(path), 0, 0, 1)
    [row] = read_rows(unit, Plan((unit,), None), Folder(str(tmp_path)))
    assert isinstance(row, BadRow) and "cannot be read as a tar" in row.reason


@pytest.mark.parametrize("path", cases("plans"), ids=lambda path: path.name)
def test_plans(path: Path, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with folder.write(PLAN) as stream:
        stream.write(path.read_bytes())
    with pytest.raises(InputError, match="cannot be read as the plan of a job"):
        Plan.load(folder)


@pytest.mark.parametrize("path", cases("requests"), ids=lambda path: path.name)
def test_requests(path: Path) -> None:
    pytest.importorskip("starlette", reason="needs the extra serve")
    from starlette.testclient import TestClient

    from fastconcept.serve.app import make_app
    from tests.fuzz.engines import colours

    case = json.loads(path.read_text(encoding="utf-8"))
    headers = {name: value.encode("latin-1") for name, value in case["headers"].items()}
    client = TestClient(make_app(colours()), raise_server_exceptions=False)
    answer = client.post(case["path"], content=case["body"].encode(), headers=headers)
    assert answer.status_code == 400 and answer.json()["error"]


def test_pictures_that_people_reported(shared: Path) -> None:
    """Those of ../shared/cases, whose README says what each did."""
    reported = sorted((shared / "cases" / "images").iterdir()) if (shared / "cases").is_dir() else []
    if not reported:
        pytest.skip("no reported pictures in the development data")
    for path in reported:
        if path.suffix == ".bin":
            with pytest.raises(ImageError):
                load_image(path)
        else:
            assert load_image(path).ndim == 3
    with Image.open(io.BytesIO((shared / "cases/images/orient6.jpg").read_bytes())) as stored:
        assert load_image(shared / "cases/images/orient6.jpg").shape[:2] == stored.size
    assert np.ptp(load_image(shared / "cases/images/plain.png")) > 0
