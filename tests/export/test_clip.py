"""The exported towers say what open_clip's say, whatever the architecture."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastconcept.bundle import Bundle, Preprocess
from fastconcept.encoders.onnx import TextEncoder
from fastconcept.encoders.providers import create_session
from fastconcept.encoders.tokenizer import Tokenizer
from fastconcept.errors import ExportError, MissingDependencyError
from fastconcept.export import clip as open_clips
from fastconcept.export import onnx as towers
from fastconcept.export.clip import load_clip
from fastconcept.export.model import Model
from fastconcept.export.onnx import quiet
from fastconcept.export.tokenizer import convert_tokenizer

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

TEXTS = ["cat", "a dog in the grass", "the house by the sea " * 30, "<end_of_text> early", ""]
MULTIMODAL = {"context_length": 76, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1, "attn_pooler_heads": 2}
ARCHITECTURES: dict[str, tuple[dict[str, Any], bool]] = {  # name -> changes to the tiny model, dynamic length
    "QuickGELU": ({"quick_gelu": True}, True),
    "eos pooling": ({"custom_text": True, "text_cfg": {"pool_type": "eos", "eos_id": 49407, "proj_bias": True}}, True),
    "first pooling": ({"text_cfg": {"pool_type": "first", "proj_type": "none", "width": 32}}, True),
    "attention of its own": ({"text_cfg": {"scale_heads": True, "scale_fc": True, "qk_norm": True}}, True),
    "last pooling": ({"text_cfg": {"pool_type": "last", "context_length": 32}}, False),
    "both directions": ({"custom_text": True, "text_cfg": {"no_causal_mask": True}}, False),
    "CoCa": (
        {
            "custom_text": True,
            "multimodal_cfg": MULTIMODAL,
            "vision_cfg": {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": {"context_length": 76, "embed_cls": True, "output_tokens": True},
        },
        False,
    ),
}


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: str) -> Model:
    return load_clip(tiny_checkpoint)


def test_what_a_bundle_needs_to_know(tiny: Model) -> None:
    assert (tiny.name, tiny.pretrained) == ("local-dir:tiny", None)
    assert (tiny.embedding_dim, tiny.context_length, tiny.dynamic_text) == (32, 77, True)
    assert tiny.logit_scale == pytest.approx(1 / 0.07)
    assert tiny.preprocess.size == (32, 32) and tiny.preprocess.mean == open_clip.OPENAI_DATASET_MEAN


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_text_towers_of_every_kind(name: str, write_checkpoint: Callable[..., str], tmp_path: Path) -> None:
    changes, dynamic = ARCHITECTURES[name]
    clip = load_clip(write_checkpoint(tmp_path / "model", changes))
    assert clip.dynamic_text is dynamic
    tokens = clip.tokenizer(TEXTS)
    with torch.inference_mode():
        expected = clip.original_text.tower.encode_text(tokens, normalize=True)
        torch.testing.assert_close(clip.text(tokens), expected, rtol=0, atol=1e-6)
        if dynamic:
            length = int((tokens[1] != 0).sum())
            short = clip.text(tokens[:2, :length])
            torch.testing.assert_close(short, expected[:2], rtol=0, atol=1e-6)


def test_a_fixed_length_tower_as_onnx(write_checkpoint: Callable[..., str], tmp_path: Path) -> None:
    changes, _ = ARCHITECTURES["both directions"]
    clip = load_clip(write_checkpoint(tmp_path / "model", changes))
    assert towers.write_text_tower(clip, tmp_path / "text.onnx") == ["text.onnx"]
    session = create_session(tmp_path / "text.onnx")
    assert session.get_inputs()[0].shape[1] == 77
    tokens = clip.tokenizer(TEXTS)
    with torch.inference_mode():
        expected = clip.original_text.tower.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(session.run(None, {"tokens": tokens.numpy()})[0], expected, atol=1e-6)


def test_any_length_and_any_batch_agree_with_torch(tiny: Model, tiny_bundle: Path) -> None:
    session = create_session(tiny_bundle / "text_encoder.onnx")
    assert all(isinstance(axis, str) for axis in session.get_inputs()[0].shape)
    tokens = tiny.tokenizer(TEXTS[:2])
    with torch.inference_mode():
        expected = tiny.original_text.tower.encode_text(tokens, normalize=True).numpy()
    for length in (7, 8, 20, 77):
        for count in (1, 2):
            rows = session.run(None, {"tokens": tokens[:count, :length].numpy()})[0]
            np.testing.assert_allclose(rows, expected[:count], atol=1e-6)


def test_a_text_alone_is_the_text_in_company(tiny: Model, tiny_bundle: Path) -> None:
    tokenizer = Tokenizer(tiny_bundle / "tokenizer.json", 77)
    encoder = TextEncoder(tiny_bundle / "text_encoder.onnx", tokenizer, 32)
    together = encoder.encode(TEXTS, batch_tokens=10_000)
    with torch.inference_mode():
        expected = tiny.original_text.tower.encode_text(tiny.tokenizer(TEXTS), normalize=True).numpy()
    np.testing.assert_allclose(together, expected, atol=1e-6)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], row, atol=1e-6)


def test_the_graph_is_modern_and_tells_nothing_of_this_machine(tiny_bundle: Path) -> None:
    onnx = pytest.importorskip("onnx")
    for name in ("image_encoder.onnx", "text_encoder.onnx"):
        model = onnx.load(tiny_bundle / name)
        onnx.checker.check_model(model)
        assert {entry.domain: entry.version for entry in model.opset_import}[""] >= 18
        content = (tiny_bundle / name).read_bytes()
        for trace in (str(Path.home()), str(Path(__file__).parents[2]), sys.prefix, "site-packages", "stack_trace"):
            assert trace.encode() not in content


def test_the_same_model_gives_the_same_bytes(tiny: Model, tiny_bundle: Path, tmp_path: Path) -> None:
    towers.write_text_tower(tiny, tmp_path / "text.onnx")
    assert (tmp_path / "text.onnx").read_bytes() == (tiny_bundle / "text_encoder.onnx").read_bytes()


def test_weights_too_large_for_one_file(
    tiny: Model, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(towers, "_MAX_INLINE_BYTES", 1000)
    assert towers.write_text_tower(tiny, tmp_path / "text.onnx") == ["text.onnx", "text.onnx.data"]
    assert (tmp_path / "text.onnx").stat().st_size < 500_000
    tokens = {"tokens": tiny.tokenizer(TEXTS).numpy()}
    inline = create_session(tiny_bundle / "text_encoder.onnx").run(None, tokens)[0]
    np.testing.assert_array_equal(create_session(tmp_path / "text.onnx").run(None, tokens)[0], inline)


def test_the_fast_path_is_left_as_it_was(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        assert not torch.backends.mha.get_fastpath_enabled()
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    before = torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ExportError, match="no such operator"):
        towers.write_image_tower(tiny, Path("unused.onnx"))
    assert torch.backends.mha.get_fastpath_enabled() is before


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-31", None, "no model 'ViT-B-31'"),
        ("ViT-B-32", None, "choose --pretrained from: .*laion2b_s34b_b79k"),
        ("ViT-B/32", None, "choose --pretrained from"),
        ("ViT-B-32", "no-such-tag", "not a known tag"),
        ("local-dir:/no/such/directory", None, "not found"),
        ("local-dir:/no/such/directory", "openai", "leave --pretrained openai out"),
    ],
)
def test_models_that_cannot_be_loaded(model: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        load_clip(model, pretrained)


def test_a_directory_without_weights(write_checkpoint: Callable[..., str], tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model")
    (tmp_path / "model" / "open_clip_model.safetensors").unlink()
    with pytest.raises(ExportError, match="weights"):
        load_clip(model)
    (tmp_path / "model" / "open_clip_config.json").write_text("{}")
    with pytest.raises(ExportError, match="model_cfg"):
        load_clip(model)


def test_weights_choose_their_activation() -> None:
    assert open_clips._check_name(open_clip, "ViT-B-32", "openai")
    assert not open_clips._check_name(open_clip, "ViT-B-32", "laion2b_s34b_b79k")
    assert open_clips._check_name(open_clip, "roberta-ViT-B-32", "laion2b_s12b_b32k")
    assert open_clips._check_name(open_clip, "ViT-B-32-quickgelu", "weights.pt")


@pytest.mark.parametrize("package", ["torch", "open_clip"])
def test_without_the_export_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[export\]"):
        load_clip("ViT-B-32", "openai")


def test_preprocessing_as_open_clip_means_it() -> None:
    given = {"mean": 0.5, "std": [0.2, 0.3, 0.4], "interpolation": "bilinear", "resize_mode": None}
    assert open_clips._preprocess({"size": 8, **given}) == Preprocess((8, 8), (0.5,) * 3, (0.2, 0.3, 0.4), "bilinear")
    assert open_clips._preprocess({"size": [8, 9], **given}).interpolation == "bicubic"  # open_clip ignores it there
    squashed = open_clips._preprocess({"size": (8, 9), **given, "resize_mode": "squash", "fill_color": 7})
    assert (squashed.interpolation, squashed.resize_mode, squashed.fill_color) == ("bilinear", "squash", 7)


def test_the_teacher_agrees_with_torch(teacher_bundle: Path, shared: Path) -> None:
    parity = Bundle(teacher_bundle).manifest.parity
    assert parity["images"] >= 64 and parity["texts"] >= 256
    assert parity["min_cosine"] > 0.9999999 and parity["max_abs_difference"] < 1e-5


class HFTokenizer:
    """Stands for open_clip's class of this name around BERT's tokenizer, as models of CLIPA have it."""

    strip_sep_token = True
    context_length = 8

    def __init__(self) -> None:
        from open_clip.tokenizer import _clean_canonicalize
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "dog": 5, "##s": 6}
        backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        self.tokenizer = SimpleNamespace(backend_tokenizer=backend, sep_token="[SEP]", sep_token_id=3)
        self.clean_fn = _clean_canonicalize

    def __call__(self, texts: list[str], context_length: int | None = None) -> np.ndarray:
        backend, length = self.tokenizer.backend_tokenizer, context_length or self.context_length
        backend.enable_truncation(length)
        backend.enable_padding(length=length)
        ids = np.array([encoding.ids for encoding in backend.encode_batch([self.clean_fn(text) for text in texts])])
        return np.where(ids == self.tokenizer.sep_token_id, 0, ids)


def test_a_tokenizer_that_strips_its_separator(tmp_path: Path) -> None:
    original = HFTokenizer()
    clean = convert_tokenizer(original, tmp_path / "tokenizer.json")
    texts = ["a dog", "dogs", "", "a [SEP] dog", "cat " * 20]
    ours = Tokenizer(tmp_path / "tokenizer.json", 8, clean, dynamic=False)(texts)
    np.testing.assert_array_equal(ours, original(texts))
    assert (ours[0] == [2, 4, 5, 0, 0, 0, 0, 0]).all()


def test_weights_that_are_not_finite_are_named(write_checkpoint: Callable[..., str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for key, tower in (("visual.proj", "image"), ("text_projection", "text")):
        model = write_checkpoint(tmp_path / tower)
        path = tmp_path / tower / "open_clip_model.safetensors"
        tensors = load_file(path)
        tensors[key][:] = float("nan")
        save_file(tensors, path)
        with pytest.raises(ExportError, match=rf"the {tower} tower of {model} returns numbers that are not finite"):
            load_clip(model)


def test_a_tokenizer_that_cannot_be_had(tiny_checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co'\nand many more lines")

    monkeypatch.setattr(open_clip, "get_tokenizer", refuse)
    with pytest.raises(ExportError, match=r"tokenizer of local-dir.*json are missing.*HF_HUB_OFFLINE=1") as caught:
        load_clip(tiny_checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_of_which_a_file_is_missing(
    missing: str, tiny_checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_checkpoint.removeprefix("local-dir:"), tmp_path / "model")
    for name in {"tokenizer.json", "tokenizer_config.json"} - {missing}:
        (tmp_path / "model" / name).write_text("{}")

    def refuse(texts: list[str]) -> None:
        raise ValueError("Asking to pad but the tokenizer does not have a padding token. Please select a token.")

    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: refuse)
    with pytest.raises(ExportError, match=rf"Asking to pad.*vocabulary of its class; {missing} is missing$"):
        load_clip(f"local-dir:{tmp_path / 'model'}")


def test_a_text_tower_whose_configuration_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"model_cfg": {"text_cfg": {"hf_model_name": "roberta-base"}}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(document))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files\nand more")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", refuse)
    with pytest.raises(ExportError, match=r"needs config\.json of roberta-base besides the weights.*hf_model_name"):
        load_clip(f"local-dir:{tmp_path}")


def test_loggers_of_other_packages_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("a.package.with.its.own.level")
    logger.setLevel(logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    with quiet():
        logger.warning("retrying")
        print("chatter")
    assert capsys.readouterr() == ("", "")
    logger.warning("heard")
    assert "heard" in capsys.readouterr().err
    logger.removeHandler(handler)
