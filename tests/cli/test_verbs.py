"""The command line as a user meets it: documents with stable keys, pictures, exit codes, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconcept
from fastconcept.cli import options as cli_options
from fastconcept.cli import run
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.errors import InputError

Json = Callable[..., dict[str, Any]]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> Json:
    """Run a verb on the tiny bundle with --json and give its document, expecting an exit code."""
    monkeypatch.setenv("FASTCONCEPT_BUNDLE", str(tiny_bundle))

    def call(*arguments: object, code: int = 0) -> dict[str, Any]:
        assert run([*map(str, arguments), "--json"]) == code
        captured = capsys.readouterr()
        assert not captured.err
        document = json.loads(captured.out)
        assert isinstance(document, dict)
        return document

    return call


QUICK = ("--sizes", 128, "--stride", 64)


def test_explain_document_picture_and_maps(ask: Json, photo: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    out, npy = tmp_path / "out.png", tmp_path / "maps.npy"
    document = ask("explain", photo, "-c", "dog.n.01", "-c", "a red ball", "-o", out, "--npy", npy, *QUICK)
    assert list(document) == ["bundle", "device", "images"]
    assert document["bundle"] == str(tiny_bundle) and document["device"] == "cpu"
    [image] = document["images"]
    assert list(image) == ["image", "mode", "options", "concepts", "timings_ms"] and image["image"] == str(photo)
    first = image["concepts"][0]
    assert first["concept"] == "dog.n.01" and 0 <= first["score"] <= 1
    x0, y0, x1, y1 = first["box"]
    assert 0 <= x0 < x1 <= 90 and 0 <= y0 < y1 <= 60
    assert set(image["timings_ms"]) == {"decode", "preprocess", "encode", "ranks", "maps"}
    maps = np.load(npy, allow_pickle=False)
    assert maps.dtype == np.float32 and maps.shape[0] == 2 and maps.max() == 1
    with Image.open(out) as picture:
        assert picture.mode == "RGB"


def test_explain_takes_several_images(ask: Json, photo: Path, tmp_path: Path) -> None:
    one, two = ask("explain", photo, photo, "-c", "dog.n.01", "-o", tmp_path / "two.png", *QUICK)["images"]
    assert one["concepts"] == two["concepts"]
    ask("explain", photo, "-c", "dog.n.01", "-o", tmp_path / "one.png", *QUICK)
    with Image.open(tmp_path / "one.png") as single, Image.open(tmp_path / "two.png") as double:
        assert double.height > 2 * single.height
    error = ask("explain", photo, photo, "-c", "dog.n.01", "--npy", tmp_path / "maps.npy", code=2)["error"]
    assert error["type"] == "InputError" and "--npy" in error["message"]


def test_concepts_without_a_question(ask: Json, photo: Path, tiny_bundle: Path) -> None:
    document = ask("concepts", photo, photo, "--top", 5, *QUICK)
    assert list(document) == ["bundle", "device", "images"] and document["bundle"] == str(tiny_bundle)
    one, two = document["images"]
    assert list(one) == ["image", "concepts", "timings_ms"] and one["concepts"] == two["concepts"]
    assert {"name", "definition", "score", "rank", "similarity", "patches"} == set(one["concepts"][0])
    scores = [concept["score"] for concept in one["concepts"]]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    [explained] = ask("explain", photo, *QUICK)["images"]
    names = [concept["name"] for concept in one["concepts"]]
    assert [concept["name"] for concept in explained["concepts"]] == names[: len(explained["concepts"])]
    [image] = ask("concepts", photo, "--below", "feline.n.01", "--top", 3, *QUICK)["images"]
    wordnet = Taxonomy.builtin()
    below = set(wordnet.subtree(wordnet.index("feline.n.01")).tolist())
    assert all(wordnet.index(concept["name"]) in below for concept in image["concepts"])
    assert ask("concepts", photo, "--below", "no such thing", *QUICK, code=2)["error"]["type"] == "ConceptError"


def test_decompose_document_and_chart(ask: Json, photo: Path, tmp_path: Path) -> None:
    document = ask("decompose", photo, photo, "--l1-penalty", 0.2, "-o", tmp_path / "bars.png")
    assert list(document) == ["bundle", "l1_penalty", "images", "timings_ms"] and document["l1_penalty"] == 0.2
    assert ask("decompose", photo)["l1_penalty"] == fastconcept.load().l1_penalty
    assert ask("decompose", photo, "--l0", 3)["l1_penalty"] is None
    one, two = document["images"]
    assert {"image", "l0", "cosine", "gap", "words"} <= set(one) and one == two
    weights = [weight for _, weight in one["words"]]
    assert weights == sorted(weights, reverse=True) and len(weights) == one["l0"]
    with Image.open(tmp_path / "bars.png") as picture:
        assert picture.width > 100
    assert ask("decompose", photo, "--l0", 3)["images"][0]["l0"] <= 3


def test_search_and_info(ask: Json) -> None:
    document = ask("search", "polar", "bear")
    concept = document["concepts"][0]
    assert concept["wnid"] == "n02134084" and concept["path"][-1] == "entity.n.01"
    assert document == ask("search", "polar bear") and ask("search", "qqqq")["concepts"] == []
    facts = ask("info")
    assert {"python", "packages", "instruction_sets", "num_threads", "providers", "bundles"} <= set(facts)
    assert "CPUExecutionProvider" in facts["providers"]


def test_what_people_read_keeps_its_brackets(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    from fastconcept.cli import info

    monkeypatch.setattr(info, "environment", lambda: {"cuda_kernels": "pip install 'fastconcept[gpu]'"})
    assert run(["info"]) == 0
    assert "cuda kernels" in (shown := capsys.readouterr().out) and "'fastconcept[gpu]'" in shown
    assert run(["search", "polar bear"]) == 0
    assert capsys.readouterr().out.startswith("ice_bear.n.01  n02134084")


def test_bench_report_and_comparison(ask: Json, tmp_path: Path) -> None:
    arguments = ("bench", "--synthetic", "64x48", "--repeats", 1, "--batch-sizes", 1, "-c", "dog.n.01")
    report = ask(*arguments)
    stages = report["latency"]["64x48"]["explain"]["stages_ms"]
    assert stages["total"]["p50"] == pytest.approx(sum(stages[s]["p50"] for s in stages if s != "total"), rel=1e-3)
    assert report["throughput"]["encode"]["1"] > 0 and report["peak_memory_mib"] > 0 and "environment" in report
    assert set(report["latency"]["64x48"]) == {"explain", "explain, dense:clearclip", "decompose"}  # a transformer
    (tmp_path / "earlier.json").write_text(json.dumps(report))
    rows = ask(*arguments, "--earlier", tmp_path / "earlier.json")["comparison"]
    assert {"image", "method", "stage", "before_ms", "now_ms", "ratio"} == set(rows[0])
    assert ask("bench", "--synthetic", "huge", code=2)["error"]["type"] == "InputError"
    (tmp_path / "other.json").write_text("[]")
    assert ask("bench", "--earlier", tmp_path / "other.json", code=2)["error"]["type"] == "InputError"


def test_bench_measures_every_mode(ask: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTCONCEPT_BUNDLE")
    quick = ("bench", "--synthetic", "64x48", "--repeats", 1, "--batch-sizes", 1)
    latency = ask(*quick, "--modes", "windows")["latency"]["64x48"]
    assert list(latency) == ["explain, windows", "explain, windows, fast", "decompose"]
    stages = {"decode", "preprocess", "encode", "pool", "ranks", "maps", "total"}
    assert set(latency["explain, windows, fast"]["stages_ms"]) == stages
    assert "mode must be one of" in ask(*quick, "--modes", "window", code=2)["error"]["message"]


@pytest.mark.parametrize(
    "arguments, kind",
    [
        (("explain", "absent.jpg", "-c", "dog"), "ImageError"),
        (("explain", "{photo}", "-c", " "), "ConceptError"),
        (("explain", "{photo}", "-c", "dgo.n.01"), "ConceptError"),
        (("explain", "{photo}", "-c", "dog", "--fit", "wide"), "InputError"),
        (("explain", "{photo}", "-c", "dog", "--bundle", "absent"), "BundleError"),
        (("explain", "{photo}", "-c", "dog", "--device", "tpu"), "DeviceError"),
        (("explain", "{photo}", "-c", "dog", "--encoder", "torch"), "InputError"),
        (("explain", "{photo}", "-c", "dog", "--encoder", "tensorrt"), "DeviceError"),
        (("explain", "{photo}", "-c", "dog", "--encoder", "absent.plan", "--device", "cuda:0"), "InputError"),
        (("explain", "{photo}", "-c", "dog", "-o", "out.docx"), "InputError"),
        (("explain", "{photo}", "-c", "dog", "-o", "absent/out.png"), "InputError"),
        (("explain", "{photo}", "-c", "dog", "--sizes", "big"), "InputError"),
        (("explain", "{photo}", "-c", "dog", "--npy", "absent/maps.npy"), "InputError"),
        (("report", "{photo}", "-o", "absent/page.html"), "InputError"),
        (("decompose", "{photo}", "--l1", "0.2", "--l0", "3"), "InputError"),
        (("decompose", "{photo}", "--l1", "-1"), "InputError"),
        (("decompose",), "MissingParameter"),
        (("explain", "{photo}", "--no-such-option"), "NoSuchOption"),
    ],
)
def test_errors_are_one_document_with_exit_code_2(
    ask: Json, photo: Path, arguments: tuple[str, ...], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    document = ask(*(part.format(photo=photo) for part in arguments), *(QUICK if "-o" in arguments else ()), code=2)
    assert document["error"]["type"] == kind and document["error"]["message"]
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "verb",
    [
        ("explain", "{photo}", "-c", "dog.n.01"),
        ("concepts", "{photo}"),
        ("decompose", "{photo}"),
        ("bench",),
        ("report", "{photo}"),
        ("evaluate", "zeroshot", "{folder}"),
        ("evaluate", "localize", "{folder}"),
    ],
)
def test_every_verb_of_a_device_takes_an_encoder(
    ask: Json, photo: Path, verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given reaches ``load`` as it is; what ``load`` refuses is said before any work."""
    arguments = [part.format(photo=photo, folder=photo.parent) for part in verb]
    error = ask(*arguments, "--encoder", "torch", code=2)["error"]
    assert error["message"] == "encoder must be onnx, tensorrt or the path of a *.plan file, got 'torch'"
    given: list[dict[str, Any]] = []

    def load(bundle: str | None, **options: Any) -> None:
        given.append(options)
        raise InputError("seen enough")

    monkeypatch.setattr(cli_options, "load", load)
    for encoder in ("tensorrt", "plans/b32.plan", None):
        ask(*arguments, "--device", "cuda:1", *(() if encoder is None else ("--encoder", encoder)), code=2)
    assert [options["encoder"] for options in given] == ["tensorrt", "plans/b32.plan", "onnx"]
    assert {options["device"] for options in given} == {"cuda:1"}


def test_without_json_an_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "absent.jpg", "-c", "dog", "-b", "no/such/bundle"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "no bundle at" in captured.err


def test_a_wrong_command_line_says_where_the_help_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain"]) == 2
    assert capsys.readouterr().err == "fastconcept: Missing argument 'images'. See `fastconcept explain --help`.\n"
    assert run([]) == 2
    assert capsys.readouterr().err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"fastconcept {fastconcept.__version__}\n"


def test_as_a_process_in_a_pipe(photo: Path, tiny_bundle: Path) -> None:
    command = [Path(sys.executable).with_name("fastconcept"), "decompose", photo, "-b", tiny_bundle]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and result.stderr == "" and "cosine" in result.stdout
    assert not any(line != line.rstrip() for line in result.stdout.splitlines())


def test_progress_on_a_terminal(photo: Path, tiny_bundle: Path) -> None:
    command = [Path(sys.executable).with_name("fastconcept"), "decompose", photo, "-b", tiny_bundle, "--json"]
    ours, theirs = os.openpty()
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=120)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert result.returncode == 0 and "encoding" in shown and json.loads(result.stdout)["images"]


def test_import_needs_no_torch_and_no_onnxruntime() -> None:
    heavy = "('torch', 'onnxruntime', 'ftfy', 'cupy')"
    program = f"import sys, fastconcept, fastconcept.engine; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
