"""The door for models that open_clip does not know: two modules, a tokenizer and the preprocessing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.bundle import Bundle
from fastconcept.encoders.preprocess import preprocess_image
from fastconcept.errors import ExportError, InputError
from fastconcept.export import Contents, Preprocess, export_model, export_open_clip, writer
from fastconcept.export.clip import load_clip
from fastconcept.export.model import Model, from_towers
from fastconcept.export.tokenizer import default_context_length, original_tokens, read_tokenizer

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
tokenizers = pytest.importorskip("tokenizers")

PREPROCESS = Preprocess((16, 24), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
FEW = Contents(roots=["cat.n.01"], vocabulary_size=5)


class Pixels(torch.nn.Module):
    """A convolution and a mean: rows of 8, not of unit length."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, dim, 5, stride=2)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, pixels: Any) -> Any:
        return self.dropout(self.convolution(pixels).relu().mean((2, 3)))


class Tokens(torch.nn.Module):
    """A bag of tokens and a bias; the padding does not count where ``pad`` is given."""

    def __init__(self, vocabulary: int, dim: int = 8, pad: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = torch.nn.Embedding(vocabulary, dim, padding_idx=pad)

    def forward(self, tokens: Any) -> Any:
        return self.table(tokens).sum(1) + 1


class MeanOfTokens(Tokens):
    """As RoBERTa's towers: a row of nothing but padding, whose id is 1, has no mean."""

    def forward(self, tokens: Any) -> Any:
        seen = (tokens != 1).float()[..., None]
        return (self.table(tokens) * seen).sum(1) / seen.sum(1)


@pytest.fixture(scope="module")
def word_tokenizer() -> Any:
    """Words of a small vocabulary and an end token; ids 0 and 1 are the padding and everything unknown."""
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "a", "cat", "dog", "the", "of", "person", "[END]"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    end = [("[END]", words["[END]"])]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="$A [END]", special_tokens=end)
    return tokenizer


@pytest.fixture(scope="module")
def traced() -> dict[tuple[Any, ...], bytes]:
    """Towers that were written before, by all that decides their file."""
    return {}


@pytest.fixture
def export(
    word_tokenizer: Any, tmp_path: Path, traced: dict[tuple[Any, ...], bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Bundle]:
    """A model of the simplest layout; options replace its parts. No tower is traced by torch twice."""

    def once(write: Callable[..., Any], model: Model, path: Path) -> list[str]:
        module = model.image if path.name.startswith("image") else model.text
        weights = b"".join(tensor.numpy().tobytes() for tensor in module.state_dict().values())
        key = (path.name, repr(module), weights, model.preprocess, model.context_length, model.dynamic_text)
        if key in traced:
            path.write_bytes(traced[key])
            return [path.name]
        names: list[str] = write(model, path)
        assert names == [path.name]
        traced[key] = path.read_bytes()
        return names

    for name in ("write_image_tower", "write_text_tower"):
        monkeypatch.setattr(writer, name, partial(once, getattr(writer, name)))
    usual: dict[str, Any] = {
        "image": Pixels(),
        "text": Tokens(9, pad=0),
        "tokenizer": word_tokenizer,
        "preprocess": PREPROCESS,
        "name": "bag of words",
        "context_length": 12,
        "contents": FEW,
        "progress": False,
    }
    return lambda **options: export_model(out=tmp_path / "out", **usual | options)


def test_a_model_of_your_own_becomes_an_engine(export: Callable[..., Bundle]) -> None:
    bundle = export(licences=["yours alone"], logit_scale=20.0)
    manifest = bundle.manifest
    assert (manifest.model, manifest.pretrained, manifest.embedding_dim) == ("bag of words", None, 8)
    assert (manifest.context_length, manifest.text_length, manifest.logit_scale) == (12, "fixed", 20.0)
    assert (manifest.tokenizer_clean, manifest.preprocess) == ("none", PREPROCESS)
    assert manifest.licences[0] == "yours alone" and "WordNet" in manifest.licences[1]
    report = json.loads((bundle.path / "parity.json").read_text())
    assert report["images"]["count"] >= 64 and report["texts"]["count"] >= 256
    assert report["min_cosine"] > 0.999999 and report["tokens_equal"]
    assert report["preprocessing"] == {"max_abs_difference": None}
    engine = fc.load(bundle.path)
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    assert engine.explain(pixels, ["cat.n.01", "a dog"], stride=32).maps.shape[0] == 2
    table = Tokens(9, pad=0).table.weight.detach().numpy()
    expected = table[2] + table[4] + table[8] + 1
    np.testing.assert_allclose(engine.encode_text(["A dog"])[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_a_tower_is_tried_on_a_text_not_on_padding(word_tokenizer: Any) -> None:
    model = from_towers(Pixels(), MeanOfTokens(9), word_tokenizer, PREPROCESS, "m", 12, "fixed", 1.0, None)
    assert model.embedding_dim == 8


def test_patches_of_their_own_size(export: Callable[..., Bundle]) -> None:
    """Whole images and patches go through one file at two sizes; what the tower sees of a patch has its own size."""
    bundle = export(preprocess=replace(PREPROCESS, patch_size=(12, 10)))
    assert bundle.manifest.preprocess.patch_size == (12, 10)
    engine = fc.load(bundle.path)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    evidence = engine.evidence(pixels, sizes=(64,), stride=64, border="inside", short_side=0)
    patch = preprocess_image(pixels, replace(PREPROCESS, size=(12, 10), resize_mode="squash"))
    with torch.inference_mode():
        row = torch.nn.functional.normalize(Pixels().eval()(torch.from_numpy(patch[None])), dim=1).numpy()
    np.testing.assert_allclose(evidence.rows, row, atol=1e-5)
    whole = preprocess_image(pixels, PREPROCESS)[None]
    np.testing.assert_allclose(engine.encode_image(pixels), engine.parts.image_encoder.encode(whole), atol=1e-6)
    with pytest.raises(InputError, match=r"\(n, 3, h, w\)"):
        engine.parts.image_encoder.encode(whole[:, :2])


def test_a_tower_that_ignores_padding_takes_short_texts(export: Callable[..., Bundle]) -> None:
    bundle = export(text_length="dynamic")
    assert bundle.manifest.text_length == "dynamic" and bundle.manifest.parity["min_cosine"] > 0.999999
    with pytest.raises(ExportError, match="texts: min cosine"):
        export(text_length="dynamic", text=Tokens(9), overwrite=True)


def test_the_models_own_transform_is_compared_with(export: Callable[..., Bundle]) -> None:
    from fastconcept.encoders.preprocess import preprocess_image

    def exact(picture: Any) -> Any:
        return preprocess_image(np.asarray(picture), PREPROCESS)

    report = json.loads((export(transform=exact).path / "parity.json").read_text())
    assert report["preprocessing"] == {"max_abs_difference": 0.0}
    with pytest.raises(ExportError, match="images: min cosine"):
        export(transform=lambda picture: exact(picture)[::-1], overwrite=True)
    for transform, message in ((lambda _: 1 / 0, "division by zero"), (lambda _: np.zeros((3, 8, 8)), r"\(3, 8, 8\)")):
        with pytest.raises(ExportError, match=message):
            export(transform=transform, overwrite=True)


def test_towers_that_cannot_be_exported(export: Callable[..., Bundle], tmp_path: Path) -> None:
    broken = Pixels()
    with torch.no_grad():
        broken.convolution.weight[0] = float("nan")
    for options, message in (
        ({"image": Pixels(7)}, "rows of 7, the text tower rows of 8"),
        ({"image": Pixels().half()}, r"convolution.weight is torch.float16 on cpu.*call \.float\(\)\.cpu\(\)"),
        ({"image": torch.nn.Conv2d(3, 8, 5)}, r"must return a tensor \(2, d\)"),
        ({"image": Tokens(9)}, "the image tower of bag of words fails"),
        ({"image": broken}, "not finite; are its weights complete"),
        ({"text": Tokens(2, pad=1)}, "the text tower of bag of words fails on a batch of shape"),
        ({"text_length": "long"}, "fixed or dynamic"),
        ({"context_length": None}, "give context_length"),
        ({"tokenizer": "absent.json"}, r"absent\.json is not a readable"),
        ({"tokenizer": len}, "a fast tokenizer of transformers"),
    ):
        with pytest.raises(ExportError, match=message):
            export(**options)
    assert list(tmp_path.iterdir()) == []


class Changed(torch.nn.Module):
    """A tower whose rows for batches above a size are changed."""

    def __init__(self, tower: Any, change: Callable[[Any], Any], above: int) -> None:
        super().__init__()
        self.tower, self.change, self.above = tower, change, above

    def forward(self, batch: Any) -> Any:
        rows = self.tower(batch)
        return self.change(rows) if len(batch) > self.above else rows


def test_what_is_refused_is_refused_before_the_towers(
    export: Callable[..., Bundle], word_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(model: Model, path: Path) -> list[str]:
        raise AssertionError("a tower is written")

    def fail(rows: Any) -> None:
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr(writer, "write_image_tower", reached)
    pictures = writer.parity_images(16)
    monkeypatch.setattr(writer, "parity_images", lambda: pictures)
    for change, message in (
        (lambda rows: rows.half(), r"must return float32 on the CPU, got torch\.float16 on cpu"),
        (lambda rows: (rows,), "it returns tuple instead of a tensor"),
        (lambda rows: rows[:1], r"must return a tensor \(16, d\) for 16 examples, got \(1, 8\)"),
        (lambda rows: rows[:, :5] + 1, "returns rows of 5 here and of 8 elsewhere"),
        (lambda rows: rows * float("nan"), "not finite"),
        (lambda rows: rows * 1e-30, "too small or too large to have a direction"),
        (fail, "16.*: first line$"),
    ):
        for kind, tower in (("image", Pixels()), ("text", Tokens(9, pad=0))):
            with pytest.raises(ExportError, match=rf"the {kind} tower of bag of words.*{message}"):
                export(**{kind: Changed(tower, change, above=2)})
    for options, message in (
        ({"text": Tokens(8, pad=0)}, "token ids up to 8: index out of range"),
        ({"context_length": 10**9}, "from 2 to 65536"),
        ({"context_length": "12"}, "from 2 to 65536"),
        ({"transform": lambda _: np.full((3, 16, 24), np.nan)}, "transform of bag of words.*not finite"),
    ):
        with pytest.raises(ExportError, match=message):
            export(**options)
    word_tokenizer = tokenizers.Tokenizer.from_str(word_tokenizer.to_str())
    word_tokenizer.enable_padding(pad_to_multiple_of=5)
    with pytest.raises(ExportError, match=r"ids of the shape \(2, 12\), got \(2, 15\)"):
        export(tokenizer=word_tokenizer)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", ""), ("name", 3), ("preprocess", {}), ("logit_scale", float("nan")), ("logit_scale", "100"),
        ("image_parts", (1,)), ("dense", None), ("dense", "maskclip"), ("licences", [1]), ("contents", {}),
        ("min_cosine", "high"), ("num_threads", 0),
    ],
)  # fmt: skip
def test_arguments_of_the_wrong_type(option: str, value: Any, export: Callable[..., Bundle]) -> None:
    with pytest.raises(InputError, match=option):
        export(**{option: value})


def test_an_output_that_is_no_path() -> None:
    out: Any
    for out in (None, 5, "a\0b", "x" * 300):
        with pytest.raises(ExportError, match="out must be a path that can be written"):
            export_open_clip("ViT-B-32", out, pretrained="openai")


def test_the_same_embedding_for_everything_is_no_parity(export: Callable[..., Bundle]) -> None:
    dead = Pixels()
    with torch.no_grad():
        dead.convolution.weight.zero_()
        dead.convolution.bias.fill_(1.0)
    with pytest.raises(ExportError, match="every image the same embedding"):
        export(image=dead)


def test_an_embedding_of_zeros_has_no_direction(export: Callable[..., Bundle]) -> None:
    class Words(Tokens):
        def forward(self, tokens: Any) -> Any:
            return self.table(tokens).sum(1)

    words = Words(9, pad=0)
    with torch.no_grad():
        words.table.weight[8] = 0  # the end token, which is all that an empty text has
    with pytest.raises(ExportError, match="the text tower of bag of words returns an embedding of zeros"):
        export(text=words)


def test_a_tokenizer_must_give_an_empty_text_a_token(export: Callable[..., Bundle], word_tokenizer: Any) -> None:
    bare = tokenizers.Tokenizer(word_tokenizer.model)
    bare.pre_tokenizer = word_tokenizer.pre_tokenizer
    with pytest.raises(ExportError, match="an empty text no tokens; add a start or end token"):
        export(tokenizer=bare)


def test_tokenizers_of_every_kind(word_tokenizer: Any, tiny_checkpoint: str, tmp_path: Path) -> None:
    texts = ["a cat", "the dog of a person " * 9]
    expected = [[2, 3, 8, 0, 0, 0], [5, 4, 6, 2, 7, 8]]
    word_tokenizer.save(str(tmp_path / "tokenizer.json"))
    for tokenizer in (word_tokenizer, read_tokenizer(tmp_path / "tokenizer.json")):
        assert original_tokens(tokenizer, texts, 6).tolist() == expected
        assert default_context_length(tokenizer) is None and tokenizer.padding is None
    limited = read_tokenizer(tmp_path / "tokenizer.json")
    limited.enable_truncation(6)
    limited.enable_padding(pad_id=1)
    assert default_context_length(limited) == 6
    assert original_tokens(limited, texts, 6).tolist() == [[2, 3, 8, 1, 1, 1], expected[1]]
    clip = load_clip(tiny_checkpoint)
    assert default_context_length(clip.tokenizer) == 77
    np.testing.assert_array_equal(original_tokens(clip.tokenizer, texts, 77), clip.tokenizer(texts).numpy())


def test_open_clip_and_the_general_door_write_the_same(
    tiny_checkpoint: str, tiny_bundle: Path, tmp_path: Path, finished_towers: None
) -> None:
    """The parity report holds the modules of this door against the files that the other door wrote."""
    clip: Model = load_clip(tiny_checkpoint)
    network = clip.original_text.tower
    bundle = export_model(
        image=clip.image,
        text=clip.text,
        tokenizer=clip.tokenizer,
        preprocess=clip.preprocess,
        transform=clip.transform,
        text_length="dynamic",
        logit_scale=float(network.logit_scale.detach().exp()),
        out=tmp_path / "out",
        name="local-dir:tiny",
        contents=FEW,
        dense=["maskclip"],
    )
    assert list(bundle.manifest.dense.towers) == ["maskclip"]
    manifest, original = bundle.manifest, Bundle(tiny_bundle).manifest
    assert manifest.parity["min_cosine"] > 0.999999
    for field in ("model", "embedding_dim", "context_length", "logit_scale", "preprocess", "tokenizer_clean"):
        assert getattr(manifest, field) == getattr(original, field)
    assert manifest.files["tokenizer.json"] == original.files["tokenizer.json"]


def test_a_clip_model_of_transformers(word_tokenizer: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the example is for transformers' CLIPModel")
    from examples.hugging_face import export_clip_model, read_preprocess

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 9, "max_position_embeddings": 12, "eos_token_id": 2, "bos_token_id": 1}
    vision = {**sizes, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    torch.manual_seed(0)
    clip = transformers.CLIPModel(config).eval()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=12
    )
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    bundle = export_clip_model(clip, tokenizer, read_preprocess(processor), tmp_path / "out", "tiny", FEW)
    assert bundle.manifest.parity["min_cosine"] > 0.99999 and bundle.manifest.context_length == 12
    rows = fc.load(bundle.path).encode_text(["a cat"])
    with torch.inference_mode():
        ids = torch.from_numpy(original_tokens(tokenizer, ["a cat"], 12))
        expected = clip.text_projection(clip.text_model(input_ids=ids).pooler_output)
    np.testing.assert_allclose(rows, torch.nn.functional.normalize(expected, dim=-1).numpy(), atol=1e-5)
