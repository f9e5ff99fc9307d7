"""A user study on the explorer's maps: questions, and answers that are kept."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...evaluate.answers import AnswerBook, GivenAnswer
from ...evaluate.study import Question, Questions
from ...saliency.layout import Layout
from ..refusals import MalformedError
from ..service import Service
from .explorer import Explorer

_PERSON = re.compile(r"\w[\w .@-]{0,63}")
_MOST_STEPS, _LONGEST = 2000, 300  # of a path of exploration; characters of a concept


class Study(Explorer):
    """An explorer of the images of a study, which only it knows.

    Parameters
    ----------
    service : Service
    questions : Path
        JSON file of the questions.
    answers : Path
        SQLite file; made if it is not there.
    layout : Layout
    """

    def __init__(self, service: Service, questions: Path, answers: Path, layout: Layout = Layout()) -> None:
        self.questions = Questions.load(questions)
        self.book = AnswerBook(answers)
        super().__init__(service, [], layout)
        self._digests: dict[int, str] = {}

    def about_study(self, person: str | None) -> dict[str, Any]:
        """Title, number of questions, what the page needs to draw, and which questions a person has answered."""
        about = {key: value for key, value in self.about().items() if key in ("model", "palette", "mode", "phrases")}
        answered = [] if person is None else self.book.answered(self.questions.title, self._person(person))
        return {**about, "title": self.questions.title, "count": len(self.questions.questions), "answered": answered}

    async def question(self, number: int) -> dict[str, Any]:
        """The captions of a question and the size of its image; not which caption is right."""
        question = self._question(number)
        digest = await self.digest(number)
        height, width, _ = (await self.photographs.pixels(digest)).shape
        return {"question": number, "captions": list(question.captions), "width": width, "height": height}

    async def digest(self, number: int) -> str:
        """The photograph of a question, by the name that the store knows it by."""
        question = self._question(number)
        if number not in self._digests:
            self._digests[number] = await self.service.run(self.photographs.add, Path(question.image))
        return self._digests[number]

    def _question(self, number: int) -> Question:
        if not 1 <= number <= len(self.questions.questions):
            raise MalformedError(f"question must be from 1 to {len(self.questions.questions)}, got {number}")
        return self.questions.questions[number - 1]

    def answer(self, given: Any) -> dict[str, Any]:
        """Keep an answer of the page: person, question, choice, seconds, path. The first answer to a question stays.

        Raises
        ------
        MalformedError
            If it is none.
        """
        if not isinstance(given, dict):
            raise MalformedError("an answer is a JSON object")
        person = self._person(given.get("person"))
        number, choice, seconds = _whole(given, "question"), _whole(given, "choice"), given.get("seconds")
        question = self._question(number)
        if not 0 <= choice < len(question.captions):
            raise MalformedError(f"choice must be from 0 to {len(question.captions) - 1}, got {choice}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
            raise MalformedError("seconds must be a number that is not negative")
        answer = GivenAnswer(
            study=self.questions.title,
            person=person,
            question=number,
            image=question.image,
            choice=choice,
            choices=len(question.captions),
            correct=choice == question.answer,
            seconds=float(seconds),
            path=_steps(given.get("path")),
            at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        added = self.book.add(answer)
        return {"kept": added, "answered": self.book.answered(self.questions.title, person)}

    def _person(self, name: Any) -> str:
        if not isinstance(name, str) or not _PERSON.fullmatch(name.strip()):
            raise MalformedError(
                "a name has 1 to 64 letters, digits, spaces or any of _.@-, and begins with a letter or digit"
            )
        return name.strip()


def _whole(given: dict[str, Any], name: str) -> int:
    value = given.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedError(f"{name} is a whole number")
    return value


def _steps(path: Any) -> list[dict[str, Any]]:
    """Steps of an exploration, as far as they are that."""
    steps = []
    for step in path[:_MOST_STEPS] if isinstance(path, list) else []:
        if not isinstance(step, dict):
            continue
        kind, concept, ms = step.get("kind"), step.get("concept"), step.get("ms")
        if isinstance(kind, str) and isinstance(concept, str) and isinstance(ms, int):
            steps.append({"ms": ms, "kind": kind[:20], "concept": concept[:_LONGEST]})
    return steps
