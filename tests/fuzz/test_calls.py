"""The engine and the command line, called with values of any type."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fastconcept as fc
from fastconcept.cli import run
from tests.fuzz.properties import inputs, odd_values, only_our_errors

FOLDER = Path(tempfile.mkdtemp(prefix="fastconcept-fuzz-"))
Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 30, 3), np.uint8)).save(FOLDER / "a.png")
(FOLDER / "b.png").write_bytes((FOLDER / "a.png").read_bytes()[:90])
(FOLDER / "c\udcff.json").write_text("[]")

BANK = fc.ConceptBank(np.eye(3), phrases=["red", "green", "blue"])
ENGINE = fc.Engine.from_parts(
    embedding_dim=3,
    preprocess=fc.Preprocess((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    image_encoder=lambda pixels: pixels.mean(axis=(2, 3)) + np.float32(1e-3),
    bank=BANK,
)
pictures = st.sampled_from([FOLDER / "a.png", FOLDER / "b.png", FOLDER, np.zeros((9, 9, 3), np.uint8)]) | odd_values
concepts = st.sampled_from(["red", ["red", "blue"], "purple"]) | odd_values
options = {
    "stride": st.sampled_from([8, 16]) | odd_values,
    "sizes": st.sampled_from([[16], [8, 16]]) | odd_values,
    "short_side": st.sampled_from([0, 24]) | odd_values,
    "seed": odd_values,
    "border": st.sampled_from(["noise", "inside"]) | odd_values,
    "score": st.sampled_from(["rank", "log-rank"]) | odd_values,
    "aggregate": odd_values,
    "fit": st.sampled_from(["full", "crop"]) | odd_values,
}


@given(pictures, concepts, st.fixed_dictionaries({}, optional=options))
@inputs(40, 0.01)
def test_explain(image: Any, concept: Any, chosen: dict[str, Any]) -> None:
    with only_our_errors():
        ENGINE.explain(image, concept, **{"stride": 16, "sizes": [16], **chosen})


VERBS = (
    "explain",
    "decompose",
    "concepts",
    "search",
    "report",
    "evaluate",
    "bench",
    "info",
    "export",
    "stream",
    "batch",
)
NAMES = (
    "localize",
    "zeroshot",
    "ood",
    "dog",
    "dog.n.01",
    str(FOLDER / "a.png"),
    str(FOLDER / "b.png"),
    str(FOLDER),
    "x",
)
OPTIONS = (
    "-b",
    "-c",
    "-o",
    "--stride",
    "--sizes",
    "--l0",
    "--device",
    "--json",
    "--top",
    "--limit",
    "--help",
    "--seed",
)
words = st.sampled_from([*VERBS, *NAMES, *OPTIONS, "0", "-1", "1e999", "", str(FOLDER / "c\udcff.json"), "cuda:7"])


@given(st.sampled_from(VERBS), st.lists(words | st.text(max_size=9).filter(lambda t: "\0" not in t), max_size=5))
@inputs(25, 0.004)
def test_command_line(verb: str, arguments: list[str]) -> None:
    given_pictures = [word for word in arguments if word == str(FOLDER / "a.png")]
    if given_pictures and verb not in ("decompose", "search", "info"):
        arguments = [*arguments, "--no-such-option"]  # what takes seconds is for other tests
    if verb == "bench":
        arguments = [*arguments, "--repeats", "0"]
    stdout, stderr = io.StringIO(), io.StringIO()
    before = os.getcwd()
    os.chdir(tempfile.mkdtemp(dir=FOLDER))
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            code = run([verb, *arguments])
    finally:
        os.chdir(before)
    assert code in (0, 2), (code, stderr.getvalue())
    assert code == 0 or len(stderr.getvalue().splitlines()) <= 1 or "Usage" in stderr.getvalue()
