"""Questions of a user study, and what its answers amount to."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import beta

import fastconcept as fc
from fastconcept.datasets.dataset import open_dataset
from fastconcept.errors import InputError
from fastconcept.evaluate.answers import EVERYBODY, AnswerBook, GivenAnswer, answers
from fastconcept.evaluate.study import Questions, study

CAPTIONS = [
    "a cat sleeps on a sofa",
    "a kitten lies on a couch",
    "two dogs run on a beach",
    "a dog plays in the sand",
    "a red bus in a street",
    "a bus stop in the rain",
    "a pizza on a plate",
    "a plate with food",
]


@pytest.fixture(scope="module")
def engine() -> fc.Engine:
    """The built-in model."""
    return fc.load()


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    """Eight images with two captions each, as COCO lays them out; one image is missing."""
    for number in range(1, 8):
        Image.fromarray(np.full((20, 30, 3), number * 20, np.uint8)).save(tmp_path / f"{number}.png")
    document = {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in range(8)],
        "annotations": [
            {"id": 2 * k + j, "image_id": k, "caption": text}
            for k, caption in enumerate(CAPTIONS)
            for j, text in enumerate((caption, f"another of {k}"))
        ],
    }
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(document))
    return path


def test_one_caption_is_right_and_the_others_are_near(engine: fc.Engine, captioned: Path) -> None:
    made = study(engine, open_dataset(captioned), count=20, seed=3)
    assert len(made.questions) == 7 and [row.name for row in made.bad] == ["0.png"]
    rows = engine.encode_text(CAPTIONS)
    for question in made.questions:
        number = int(Path(question.image).stem)
        assert question.captions[question.answer] == CAPTIONS[number] and len(set(question.captions)) == 4
        near = np.argsort(-(rows @ rows[number]))[1:4]
        assert set(question.captions) == {CAPTIONS[number], *(CAPTIONS[k] for k in near)}
    assert {question.answer for question in made.questions} != {made.questions[0].answer}
    assert study(engine, open_dataset(captioned), count=20, seed=3).questions == made.questions
    random = study(engine, open_dataset(captioned), count=7, distractors="random", seed=3)
    assert [set(q.captions) for q in random.questions] != [set(q.captions) for q in made.questions]


def test_questions_survive_their_file(engine: fc.Engine, captioned: Path) -> None:
    made = study(engine, open_dataset(captioned), count=2, choices=3)
    path = captioned.parent / "questions.json"
    made.save(path)
    assert all("/" not in entry["image"] for entry in json.loads(path.read_text())["questions"])
    assert Questions.load(path).questions == made.questions


def test_captions_that_say_the_same_are_no_choice(engine: fc.Engine, captioned: Path) -> None:
    document = json.loads(captioned.read_text())
    for annotation in document["annotations"]:
        annotation["caption"] = CAPTIONS[annotation["image_id"] % 2]
    captioned.write_text(json.dumps(document))
    with pytest.raises(InputError, match="2 images with captions of their own, 4 are needed"):
        study(engine, open_dataset(captioned))
    two = study(engine, open_dataset(captioned), choices=2)
    assert all(set(question.captions) == set(CAPTIONS[:2]) for question in two.questions)


@pytest.mark.parametrize("changes", [{"choices": 1}, {"choices": 11}, {"count": 0}, {"distractors": "far"}])
def test_bad_choices_are_refused(engine: fc.Engine, captioned: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="|".join(changes)):
        study(engine, open_dataset(captioned), **changes)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"image": "1.png", "captions": ["a"], "answer": 0},
        {"image": "1.png", "captions": ["a", "a"], "answer": 0},
        {"image": "1.png", "captions": ["a", "b"], "answer": 2},
        {"image": "1.png", "captions": ["a", "b"], "answer": True},
        {"image": "1.png", "captions": ["a", 7], "answer": 0},
        {"image": "none.png", "captions": ["a", "b"], "answer": 0},
    ],
)
def test_files_that_are_no_questions_are_refused(captioned: Path, entry: Any) -> None:
    path = captioned.parent / "questions.json"
    path.write_text(json.dumps({"questions": [entry]}))
    with pytest.raises(InputError, match=r"questions\.json"):
        Questions.load(path)
    path.write_text(json.dumps({"questions": []}))
    with pytest.raises(InputError, match="1 to 1000 questions"):
        Questions.load(path)


def given(person: str, number: int, correct: bool, **changes: Any) -> GivenAnswer:
    values: dict[str, Any] = {
        "study": "cats", "person": person, "question": number, "image": "1.png", "choice": 1, "choices": 4,
        "correct": correct, "seconds": float(number), "path": [{"ms": 1, "kind": "map", "concept": "cat.n.01"}],
        "at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return GivenAnswer(**{**values, **changes})


def test_accuracy_has_the_interval_of_clopper_and_pearson(tmp_path: Path) -> None:
    book = AnswerBook(tmp_path / "answers.sqlite")
    for number in range(1, 11):
        assert book.add(given("Ada", number, number <= 8))
    book.add(given("=SUM(A1)", 1, False))
    result = answers(tmp_path / "answers.sqlite")
    ada = next(row for row in result.rows if row.person == "Ada")
    assert (ada.correct, ada.count, ada.accuracy, ada.chance, ada.seconds, ada.steps) == (8, 10, 0.8, 0.25, 5.5, 1.0)
    assert ada.low == pytest.approx(beta.ppf(0.025, 8, 3)) and ada.high == pytest.approx(beta.ppf(0.975, 9, 2))
    assert ada.p < 0.001
    everybody = next(row for row in result.rows if row.person == EVERYBODY)
    assert (everybody.correct, everybody.count) == (8, 11)
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert len(rows) == 11 and {row["person"] for row in rows} == {"Ada", "'=SUM(A1)"}
    assert float(rows[-1]["person_accuracy"]) == 0.8 and json.loads(rows[-1]["path"])[0]["concept"] == "cat.n.01"
    report = result.report({"answers": "answers.sqlite"})
    assert "72.7% of 11 answers" in report.to_markdown()
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_first_answer_stays(tmp_path: Path) -> None:
    book = AnswerBook(tmp_path / "answers.sqlite")
    assert book.add(given("Ada", 1, True)) and not book.add(given("Ada", 1, False))
    assert book.answered("cats", "Ada") == [1] and book.answered("dogs", "Ada") == []
    (only,) = AnswerBook(tmp_path / "answers.sqlite").all()
    assert only == given("Ada", 1, True)


def test_files_without_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no answers at"):
        answers(tmp_path / "none.sqlite")
    AnswerBook(tmp_path / "empty.sqlite")
    with pytest.raises(InputError, match="no answers yet"):
        answers(tmp_path / "empty.sqlite")
    (tmp_path / "text.sqlite").write_text("this is no database, and long enough to be told from one" * 20)
    with pytest.raises(InputError, match="cannot be used for answers"):
        answers(tmp_path / "text.sqlite")
