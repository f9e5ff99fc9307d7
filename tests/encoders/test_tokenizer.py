"""The runtime tokenizer gives open_clip's tokens for every string."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconcept.encoders.tokenizer import MAX_CHARACTERS, MAX_LINES, Tokenizer
from fastconcept.errors import BundleError, ExportError, InputError
from fastconcept.export.tokenizer import convert_tokenizer

NASTY = [
    "",
    " ",
    "a",
    "?",
    "\x00",
    "\x1c\x85\u2028x",
    "a  b\t\tc\n\nd",
    "\ufeff\u200b",
    "word " * 300,
    "x" * 5000,
    "!?" * 300,
    "don't they'll we've I'm he'd you're 'S 'LL",
    "'ſ ſ'ſ",
    "K Å",
    "İstanbul ẞ ß ŉ ǅ",
    "ﬁ ﬂ ﬆ ﬀ",
    "ｆｕｌｌ ｗｉｄｔｈ",
    "&amp;lt;end_of_text&amp;gt;",
    "&lt;b&gt; &amp; &quot; &#39; &#xD800; &nbsp;x",
    "â€œmojibakeâ€\x9d sÃ£o",
    "\x1b[31mred\x1b[0m",
    "日本語の文章",
    "中文字符",
    "한국어",
    "العربية",
    "हिन्दी",
    "ไทย",
    "🙂👩‍👩‍👧‍👦🇩🇪🏳️‍🌈",
    "e\u0301 n\u0303",
    "*\u0345x\u0345",
    "1234567890 3.14 1,000 ½ ² Ⅷ",
    "\U00020000\U0002ebf0\U00031350",
    "\u0558\u088f\U00011de0",
    "\U000e0001\U0010ffff",
    "<end_of_text>",
    "a<end_of_text>b",
    "!<end_of_text>",
    "<end_of_text><start_of_text>",
    "<END_OF_TEXT>",
    "<ſtart_of_text>",
    "<start_of_text",
    "<end_of_text>>",
    "<<end_of_text>",
    "<|endoftext|>",
    "</w>",
    "<end_of",
    "a</w>b",
    "\u0120\u0100",
]
PIECES = st.sampled_from(
    [
        "<end_of_text>",
        "<start_of_text>",
        "<",
        ">",
        "_",
        "end",
        "'s",
        "'LL",
        "&amp;",
        "&lt;",
        " ",
        "\t",
        "1",
        "ſ",
        "\u0345",
        "Ä",
    ]
)
STRINGS = st.one_of(st.text(max_size=60), st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=20).map("".join))


@pytest.fixture(scope="module")
def clip_tokenizer() -> Any:
    open_clip = pytest.importorskip("open_clip")
    return open_clip.get_tokenizer("ViT-B-32")


@pytest.fixture(scope="module")
def json_file(clip_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    assert convert_tokenizer(clip_tokenizer, path) == "lower"
    return path


@cache
def opened(path: Path, length: int, dynamic: bool) -> Tokenizer:
    return Tokenizer(path, length, dynamic=dynamic)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_equal_to_open_clip_on_nasty_strings(clip_tokenizer: Any, json_file: Path, text: str) -> None:
    np.testing.assert_array_equal(opened(json_file, 77, False)([text]), clip_tokenizer([text]).numpy())


@given(texts=st.lists(STRINGS, min_size=1, max_size=8), length=st.sampled_from([2, 5, 32, 77]))
def test_equal_to_open_clip_on_any_string(clip_tokenizer: Any, json_file: Path, texts: list[str], length: int) -> None:
    expected = clip_tokenizer(texts, context_length=length).numpy()
    np.testing.assert_array_equal(opened(json_file, length, False)(texts), expected)
    shorter = opened(json_file, length, True)(texts)
    assert shorter.dtype == np.int64 and shorter.shape[1] == (expected != 0).sum(axis=1).max()
    np.testing.assert_array_equal(shorter, expected[:, : shorter.shape[1]])
    assert not expected[:, shorter.shape[1] :].any()


def test_equal_to_open_clip_on_every_character(clip_tokenizer: Any, json_file: Path) -> None:
    characters = [chr(point) for point in range(1, 0x110000, 7) if not 0xD800 <= point < 0xE000]
    texts = [f"a{''.join(characters[start : start + 12])}b" for start in range(0, len(characters), 12)]
    np.testing.assert_array_equal(Tokenizer(json_file, 77, dynamic=False)(texts), clip_tokenizer(texts).numpy())


def test_canonical_cleaning_is_open_clips(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    original = open_clip.SimpleTokenizer(context_length=32, clean="canonicalize")
    clean = convert_tokenizer(original, tmp_path / "tokenizer.json")
    assert clean == "canonicalize"
    ours = Tokenizer(tmp_path / "tokenizer.json", 32, clean, dynamic=False)
    np.testing.assert_array_equal(ours(NASTY), original(NASTY).numpy())


def test_a_long_text_keeps_its_first_tokens_and_the_end(json_file: Path) -> None:
    full = Tokenizer(json_file, 400).tokenize(["one two three four five six"])[0]
    cut = Tokenizer(json_file, 5).tokenize(["one two three four five six"])[0]
    assert cut == [*full[:4], full[-1]]


def test_what_cannot_be_exported_exactly_is_refused(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    for options in ({"clean": "whitespace"}, {"reduction_mask": "random"}, {"additional_special_tokens": ["<x>"]}):
        with pytest.raises(ExportError):
            convert_tokenizer(open_clip.SimpleTokenizer(**options), tmp_path / "tokenizer.json")
    with pytest.raises(ExportError, match="list"):
        convert_tokenizer([], tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    "texts",
    [
        [],
        "a dog",
        b"a dog",
        None,
        3,
        [1],
        ["a", None],
        ["\ud800"],
        ["x" * (MAX_CHARACTERS + 1)],
        ["\n" * (MAX_LINES + 1)],
        {"a": 1},
    ],
)
def test_bad_texts(json_file: Path, texts: Any) -> None:
    with pytest.raises(InputError):
        Tokenizer(json_file, 77)(texts)


def test_bad_files(json_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "tokenizer.json"
    for content in (b"", b"{}", json_file.read_bytes()[:5000], b"\xff\xfe"):
        broken.write_bytes(content)
        with pytest.raises(BundleError, match=r"tokenizer\.json"):
            Tokenizer(broken, 77)
    with pytest.raises(BundleError):
        Tokenizer(tmp_path / "absent.json", 77)
    with pytest.raises(InputError, match="clean"):
        Tokenizer(json_file, 77, "upper")
    with pytest.raises(InputError, match="context_length"):
        Tokenizer(json_file, 1)


def test_padding_follows_the_file(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 5, "b": 6, "[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.enable_padding(direction="left", pad_id=1)
    words.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer(tmp_path / "tokenizer.json", 4, "none", False)(["a b", "b"]).tolist() == [
        [1, 1, 5, 6],
        [1, 1, 1, 6],
    ]


def test_repairing_text_is_imported_when_needed() -> None:
    code = "import sys, fastconcept.encoders.tokenizer; sys.exit(any(m in sys.modules for m in ('ftfy', 'tokenizers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
