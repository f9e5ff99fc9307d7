"""Answers of a user study: kept in one SQLite file while they are given, and what they amount to."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..pages.document import Report
from ..pages.tables import Table
from .libraries import library

_COLUMNS = (
    ("study", "TEXT NOT NULL"),
    ("person", "TEXT NOT NULL"),
    ("question", "INTEGER NOT NULL"),
    ("image", "TEXT NOT NULL"),
    ("choice", "INTEGER NOT NULL"),
    ("choices", "INTEGER NOT NULL"),
    ("correct", "INTEGER NOT NULL"),
    ("seconds", "REAL NOT NULL"),
    ("path", "TEXT NOT NULL"),
    ("at", "TEXT NOT NULL"),
)
_NAMES = ", ".join(name for name, _ in _COLUMNS)
EVERYBODY = "(all)"


@dataclass(frozen=True)
class GivenAnswer:
    """One answer of one person.

    Attributes
    ----------
    study, person : str
    question : int
        From 1.
    image : str
    choice, choices : int
        Caption that was chosen, from 0, and how many there were.
    correct : bool
    seconds : float
        From when the question was shown.
    path : list of dict
        What was explored, in order: milliseconds, the kind of step, the concept.
    at : str
        When it was given, in UTC.
    """

    study: str
    person: str
    question: int
    image: str
    choice: int
    choices: int
    correct: bool
    seconds: float
    path: list[dict[str, Any]]
    at: str


class AnswerBook:
    """Answers in a SQLite file, which other programs can read while a study runs.

    Parameters
    ----------
    path : Path
        Made if it is not there.

    Raises
    ------
    InputError
        If it cannot be opened, or is no file of answers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS)
        with self._open() as database:
            database.execute(f"CREATE TABLE IF NOT EXISTS answers ({columns}, PRIMARY KEY (study, person, question))")
            database.execute(f"SELECT {_NAMES} FROM answers LIMIT 1")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as database, database:
                yield database
        except sqlite3.Error as error:
            raise InputError(f"{self.path} cannot be used for answers: {error}") from None

    def add(self, answer: GivenAnswer) -> bool:
        """Keep an answer; False if this person has answered this question already, whose first answer stays."""
        values = {**asdict(answer), "path": json.dumps(answer.path), "correct": int(answer.correct)}
        marks = ", ".join(f":{name}" for name, _ in _COLUMNS)
        with self._open() as database:
            added = database.execute(f"INSERT OR IGNORE INTO answers ({_NAMES}) VALUES ({marks})", values)
            return added.rowcount == 1

    def answered(self, study: str, person: str) -> list[int]:
        """Numbers of the questions that a person has answered."""
        with self._open() as database:
            rows = database.execute("SELECT question FROM answers WHERE study = ? AND person = ?", (study, person))
            return [int(number) for (number,) in rows]

    def all(self) -> list[GivenAnswer]:
        """All answers, by study, person and question."""
        with self._open() as database:
            rows = database.execute(f"SELECT {_NAMES} FROM answers ORDER BY study, person, question").fetchall()
        answers = []
        for row in rows:
            values = dict(zip((name for name, _ in _COLUMNS), row, strict=True))
            answers.append(GivenAnswer(**{**values, "correct": bool(values["correct"]), "path": _path(values["path"])}))
        return answers


def _path(text: str) -> list[dict[str, Any]]:
    try:
        steps = json.loads(text)
    except ValueError:
        return []
    return steps if isinstance(steps, list) else []


@dataclass(frozen=True)
class Accuracy:
    """How often somebody was right.

    Attributes
    ----------
    study, person : str
        ``person`` is ``(all)`` for all of them together.
    correct, count : int
    accuracy : float
    low, high : float
        95 % interval of Clopper and Pearson: exact for independent answers of one person. Answers of several persons
        to the same questions are not independent, so that the interval of all together is too narrow.
    chance : float
        Accuracy of guessing.
    p : float
        One-sided binomial test against guessing.
    seconds : float
        Median time of an answer.
    steps : float
        Mean number of steps explored.
    """

    study: str
    person: str
    correct: int
    count: int
    accuracy: float
    low: float
    high: float
    chance: float
    p: float
    seconds: float
    steps: float


@dataclass(frozen=True)
class AnswersResult:
    """Result of :func:`answers`.

    Attributes
    ----------
    given : list of GivenAnswer
    rows : list of Accuracy
        One per study and person, then all persons of each study.
    """

    given: list[GivenAnswer]
    rows: list[Accuracy]

    def report(self, settings: dict[str, object]) -> Report:
        """Accuracy per person, and plain values."""
        everybody = [row for row in self.rows if row.person == EVERYBODY]
        finding = " ".join(
            f"{row.study}: {row.accuracy:.1%} of {row.count} answers are right (chance {row.chance:.0%})."
            for row in everybody
        )
        columns = [
            "study",
            "person",
            "answers",
            "right",
            "accuracy",
            "low",
            "high",
            "chance",
            "p",
            "seconds",
            "steps",
        ]
        rows: list[list[Any]] = [
            [r.study, r.person, r.count, r.correct, r.accuracy, r.low, r.high, r.chance, r.p, r.seconds, r.steps]
            for r in self.rows
        ]
        note = (
            "Low and high are Clopper and Pearson's 95 % interval, which takes all answers for independent; p is that "
            "of guessing; seconds are the median of an answer, steps the mean of what was explored."
        )
        table = Table("Accuracy per person", columns, rows, note)
        values = {"rows": [asdict(row) for row in self.rows]}
        return Report("answers", "Answers of a user study", finding, settings, [table], [], values, [], 0.0)

    def to_csv(self) -> str:
        """One row per answer, with the accuracy of its person and its interval in each row."""
        stream = io.StringIO(newline="")
        names = [name for name, _ in _COLUMNS]
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*names, "person_accuracy", "person_low", "person_high"])
        accuracy = {(row.study, row.person): row for row in self.rows}
        for answer in self.given:
            values = {**asdict(answer), "correct": int(answer.correct), "path": json.dumps(answer.path)}
            row = accuracy[answer.study, answer.person]
            numbers = [f"{value:.6f}" for value in (row.accuracy, row.low, row.high)]
            writer.writerow([_plain(values[name]) for name in names] + numbers)
        return stream.getvalue()


def _plain(value: object) -> object:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def answers(path: Path) -> AnswersResult:
    """How often people were right, from the file that ``fastconcept explore --study`` writes.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If there is no such file, or no answer in it.
    MissingDependencyError
        If SciPy is not installed.
    """
    if not os.path.isfile(path):
        raise InputError(f"no answers at {path}; `fastconcept explore --study QUESTIONS.json` writes them")
    given = AnswerBook(path).all()
    if not given:
        raise InputError(f"{path} has no answers yet")
    groups: dict[tuple[str, str], list[GivenAnswer]] = defaultdict(list)
    for answer in given:
        groups[answer.study, answer.person].append(answer)
    rows = [_accuracy(study, person, group) for (study, person), group in groups.items()]
    for study in dict.fromkeys(answer.study for answer in given):
        rows.append(_accuracy(study, EVERYBODY, [answer for answer in given if answer.study == study]))
    return AnswersResult(given, rows)


def _accuracy(study: str, person: str, group: Sequence[GivenAnswer]) -> Accuracy:
    right, count = sum(answer.correct for answer in group), len(group)
    chance = sum(1 / answer.choices for answer in group) / count
    test = library("scipy.stats").binomtest(right, count, chance, alternative="greater")
    interval = library("scipy.stats").binomtest(right, count).proportion_ci(0.95, method="exact")
    seconds = sorted(answer.seconds for answer in group)
    median = (seconds[(count - 1) // 2] + seconds[count // 2]) / 2
    steps = sum(len(answer.path) for answer in group) / count
    low, high = float(interval.low), float(interval.high)
    return Accuracy(study, person, right, count, right / count, low, high, chance, float(test.pvalue), median, steps)
