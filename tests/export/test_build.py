"""A whole bundle or nothing: what an export writes, and what it leaves when it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fastconcept import files
from fastconcept.bundle import Bundle
from fastconcept.concepts.bank import ConceptBank
from fastconcept.encoders.onnx import TextEncoder
from fastconcept.encoders.tokenizer import Tokenizer
from fastconcept.errors import BundleError, ConceptError, ExportError
from fastconcept.export import Contents, build, export_open_clip, writer
from fastconcept.export.banks import DEFAULT_ROOTS, plan_banks, safe_name
from fastconcept.export.clip import load_clip
from fastconcept.export.model import Model
from fastconcept.sparse.dictionary import Dictionary

pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def clip(tiny_checkpoint: str) -> Model:
    return load_clip(tiny_checkpoint)


@pytest.fixture
def quick(
    clip: Model, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_towers: None
) -> Callable[..., Bundle]:
    """An export whose towers and parity are taken from a finished one; the rest is real."""
    monkeypatch.setattr(build, "load_clip", lambda model, pretrained: clip)
    monkeypatch.setattr(
        writer,
        "write_dense",
        lambda clip, name, path, *rest: onnx.save(onnx.load(str(tiny_bundle / path.name)), str(path)),
    )
    monkeypatch.setattr(
        writer, "convert_tokenizer", lambda _, path: shutil.copy(tiny_bundle / path.name, path) and "lower"
    )
    report = json.loads((tiny_bundle / "parity.json").read_text())
    monkeypatch.setattr(writer.BundleWriter, "run_original", lambda *arguments: None)
    monkeypatch.setattr(writer, "measure_parity", lambda *arguments: dict(report))
    small: dict[str, Any] = {"roots": ["cat.n.01"], "vocabulary_size": 5}

    def export(overwrite: bool = False, min_cosine: float | None = None, **contents: Any) -> Bundle:
        chosen = Contents(**small | contents)
        return export_open_clip(
            "tiny", tmp_path / "out", contents=chosen, overwrite=overwrite, min_cosine=min_cosine, progress=False
        )

    return export


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_in_a_bundle(tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    bundle.verify()
    manifest = bundle.manifest
    assert (manifest.model, manifest.embedding_dim, manifest.text_length) == ("local-dir:tiny", 32, "dynamic")
    assert list(manifest.banks) == ["roots-feline", "phrases"] and list(manifest.dictionaries) == ["wordnet"]
    assert {"torch", "open_clip_torch", "onnxruntime", "python"} <= set(manifest.created_with)
    assert len(manifest.licences) == 1 and "WordNet" in manifest.licences[0]
    files = {path.relative_to(tiny_bundle).as_posix() for path in tiny_bundle.rglob("*") if path.is_file()}
    assert files == {*manifest.files, "manifest.json"}
    from safetensors.numpy import load_file

    mean = load_file(bundle.file("image_mean.safetensors"))
    assert list(mean) == ["mean"] and mean["mean"].shape == (32,) and mean["mean"].dtype == np.float32


def test_banks_and_dictionaries_are_the_encoders(tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    encoder = TextEncoder(bundle.file("text_encoder.onnx"), Tokenizer(bundle.file("tokenizer.json"), 77), 32)
    bank = ConceptBank.load(bundle.bank())
    assert bank.names[bank.index("cat.n.01")] == "cat.n.01" and len(bank.subtree("feline.n.01")) == len(bank)
    np.testing.assert_allclose(bank.embeddings, encoder.encode(bank.texts), atol=1e-6)
    phrases = ConceptBank.load(bundle.bank("phrases"))
    assert phrases.names[0] == "a red ball"
    np.testing.assert_allclose(phrases.embeddings[0], encoder.encode(["a red ball"])[0], atol=1e-6)
    dictionary = Dictionary.load(bundle.dictionary())
    assert len(dictionary) == 40 and dictionary.words[0] == "person"
    rows = encoder.encode(dictionary.words)
    np.testing.assert_allclose(dictionary.mean, rows.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("error", [RuntimeError("power cut"), KeyboardInterrupt(), ExportError("refused")])
@pytest.mark.parametrize(
    "stage", ["write_encoders", "write_parity", "write_bank", "write_dictionary", "write_image_mean", "write_manifest"]
)
def test_an_interrupted_export_leaves_nothing(
    stage: str, error: BaseException, quick: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    from PIL import Image

    Image.new("RGB", (40, 40)).save(photos / "black.png")
    real = getattr(writer.BundleWriter, stage)

    def fail(self: writer.BundleWriter, *arguments: Any) -> None:
        real(self, *arguments)
        assert any(path.name.startswith(".out.partial-") for path in tmp_path.iterdir())
        raise error

    monkeypatch.setattr(writer.BundleWriter, stage, fail)
    with pytest.raises(type(error)):
        quick(mean_images=photos)
    assert leftovers(tmp_path) == ["photos"]


def test_termination_leaves_nothing(
    quick: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer.BundleWriter, "write_bank", lambda self, plan: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        quick()
    assert leftovers(tmp_path) == [] and signal.getsignal(signal.SIGTERM) is before


def test_a_failing_last_step_puts_the_old_bundle_back(
    quick: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick()
    replace, old = os.replace, (tmp_path / "out/manifest.json").read_bytes()

    def fail(source: Any, target: Any) -> None:
        if Path(source).name.startswith(".out.partial-"):
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        quick(overwrite=True, vocabulary_size=6)
    assert leftovers(tmp_path) == ["out"] and (tmp_path / "out/manifest.json").read_bytes() == old


def test_an_export_below_tolerance_fails(quick: Callable[..., Bundle], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="min cosine"):
        quick(min_cosine=1.1)
    assert leftovers(tmp_path) == []


def test_what_is_there_is_not_overwritten_unasked(quick: Callable[..., Bundle], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert len(quick().manifest.dictionaries) == 1
    with pytest.raises(ExportError, match="already a bundle; use --overwrite"):
        quick()
    assert not quick(overwrite=True, vocabulary_size=0).manifest.dictionaries
    assert leftovers(tmp_path) == ["out"]
    (tmp_path / "out" / "manifest.json").unlink()
    for overwrite in (False, True):
        with pytest.raises(ExportError, match="other things in it"):
            quick(overwrite=overwrite)
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ExportError, match="is a file"):
        quick(overwrite=True)


def test_a_parent_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not exist"):
        export_open_clip("ViT-B-32", tmp_path / "absent" / "out", pretrained="openai")


def test_the_same_export_gives_the_same_bytes(quick: Callable[..., Bundle]) -> None:
    first = quick().manifest.to_json()
    assert quick(overwrite=True).manifest.to_json() == first


def test_a_flipped_byte_is_found(quick: Callable[..., Bundle]) -> None:
    bundle = quick()
    path = bundle.path / "image_encoder.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        Bundle(bundle.path).file("image_encoder.onnx")


def test_weights_beside_an_encoder_are_verified_with_it(
    quick: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx, write = pytest.importorskip("onnx"), writer.write_text_tower

    def with_weights(clip: Model, path: Path) -> None:
        write(clip, path)
        name = f"{path.name}.data"
        onnx.save_model(onnx.load(path), path, save_as_external_data=True, location=name, size_threshold=1024)

    monkeypatch.setattr(writer, "write_text_tower", with_weights)
    bundle = quick()
    assert "text_encoder.onnx.data" in bundle.manifest.files
    weights = bundle.path / "text_encoder.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-1] + b"z")
    with pytest.raises(BundleError, match=r"\.data is damaged"):
        Bundle(bundle.path).encoder("text_encoder.onnx")


def test_options_that_do_not_fit(quick: Callable[..., Bundle], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="exclude each other"):
        quick(mean_images=tmp_path, image_mean=tmp_path / "mean.safetensors")
    with pytest.raises(ExportError, match="l1-penalty must be above 0 and below 2"):
        quick(l1_penalty=2.5)
    with pytest.raises(ConceptError, match="cat"):
        quick(roots=["catt.n.01"])
    for size in (-1, 50_000):
        with pytest.raises(ExportError, match=str(size)):
            quick(vocabulary_size=size)
    for option in ("words", "phrases", "vocabulary", "image_mean", "mean_images", "wordnet"):
        with pytest.raises(ExportError, match="absent"):
            quick(**{option: tmp_path / "absent"})
    assert leftovers(tmp_path) == []


def test_an_image_mean_from_a_file(quick: Callable[..., Bundle], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    save_file({"ours": np.full(32, 0.1, np.float32)}, tmp_path / "mean.safetensors")
    bundle = quick(image_mean=tmp_path / "mean.safetensors", roots=None, phrases=_write(tmp_path / "p.txt", "a dog"))
    np.testing.assert_array_equal(
        load_file(bundle.file("image_mean.safetensors"))["mean"], np.full(32, 0.1, np.float32)
    )
    assert list(bundle.manifest.banks) == ["p"]


def test_of_words_with_equal_tokens_the_last_is_exported(
    quick: Callable[..., Bundle], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = quick(
        vocabulary_size=6, vocabulary=_write(tmp_path / "w.txt", "Dog\nsea\ndog &amp; cat\ncat\ndog & cat\ndog")
    )
    dictionary = Dictionary.load(bundle.dictionary())
    assert dictionary.words == ("sea", "cat", "dog & cat", "dog") and dictionary.index("Dog") == 3
    assert "2 words have the embedding of another and are left out: 'Dog' ('dog'), 'dog &amp; cat'" in caplog.text


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_which_banks_are_planned(tmp_path: Path) -> None:
    words = _write(tmp_path / "words.txt", "dog\ncat\nno such word\n")
    phrases = _write(tmp_path / "my phrases.txt", "a red ball\n\n a red ball\na blue ball")
    synsets = _write(tmp_path / "convis.synsets", "dog.n.01\ncat.n.01\n")
    plans = plan_banks(words, ["bird.n.01", "fish.n.01"], synsets, True, phrases)
    assert [plan.name for plan in plans] == ["convis", "roots-bird-fish", "synsets-convis", "nouns", "my-phrases"]
    assert plans[4].texts == ("a red ball", "a blue ball") and len(plans[3].texts) == 82_115
    assert plans[2].taxonomy is not None and plans[0].taxonomy is not None
    assert {"dog.n.01", "feline.n.01", "entity.n.01"} <= set(plans[2].taxonomy.names) < set(plans[0].taxonomy.names)
    assert plans[0].taxonomy is not None and "entity.n.01" in plans[0].taxonomy.names
    assert plans[1].taxonomy is not None and len(plans[1].taxonomy) < 2000
    assert len(plan_banks()) == 1 and DEFAULT_ROOTS == ("physical_entity.n.01",)
    assert plan_banks(words, phrases=_write(tmp_path / "convis.txt", "a dog"))[1].name == "phrases-convis"
    with pytest.raises(ExportError, match="--phrases"):
        plan_banks(_write(tmp_path / "none.txt", "qwertz"))
    with pytest.raises(ConceptError, match=r"dog\.n\.99"):
        plan_banks(synsets=_write(tmp_path / "none.txt", "dog.n.99"))


@pytest.mark.parametrize(("text", "name"), [("../../x", "x"), ("a/b", "a-b"), ("", "unnamed"), ("é", "unnamed")])
def test_names_are_safe_file_names(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_the_teacher_with_convis_and_splice(teacher_bundle: Path) -> None:
    bundle = Bundle(teacher_bundle)
    bundle.verify()
    bank = ConceptBank.load(bundle.bank("convis"))
    assert 7_050 <= len(bank) <= 7_110 and len(bank.subtree("bird.n.01")) == 91
    dictionary = Dictionary.load(bundle.dictionary("laion"))
    assert len(dictionary) + len(dictionary.spellings) == 10_000 and dictionary.words[-1] == "-"
    assert len(dictionary.spellings) == 2
    assert str(Path.home()) not in bundle.manifest.to_json()
