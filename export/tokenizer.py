"""From the tokenizer of a model to a ``tokenizer.json`` for the ``tokenizers`` package.

Four kinds are known: open_clip's; a fast tokenizer of ``transformers``; a ``tokenizers.Tokenizer``; and the path of a
``tokenizer.json``, which :func:`read_tokenizer` makes into the third kind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.providers import first_line
from ..encoders.tokenizer import Tokenizer
from ..errors import BundleError, ExportError

_START, _END = "<start_of_text>", "<end_of_text>"
_CLEANERS = {"_clean_lower": "lower", "_clean_whitespace": "whitespace", "_clean_canonicalize": "canonicalize"}
_OPEN_CLIP = ("SimpleTokenizer", "HFTokenizer", "SigLipTokenizer")
_LONGEST = 65536  # tokens; transformers writes 10^30 where a tokenizer has no limit


def read_tokenizer(tokenizer: Any) -> Any:
    """A tokenizer from its ``tokenizer.json``; any other argument is returned as it is.

    Raises
    ------
    ExportError
        If the file cannot be read, or the object is none of the kinds above.
    """
    import tokenizers

    if not isinstance(tokenizer, (str, os.PathLike)):
        _kind(tokenizer)
        return tokenizer
    try:
        return tokenizers.Tokenizer.from_file(os.fspath(tokenizer))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # the package raises bare Exception, and panics
        raise ExportError(f"{os.fspath(tokenizer)} is not a readable tokenizer.json: {first_line(error)}") from None


def default_context_length(tokenizer: Any) -> int | None:
    """Most tokens of a text by the tokenizer's own account, or None where it does not say."""
    if _kind(tokenizer) == "tokenizers":
        length = (tokenizer.truncation or {}).get("max_length")
    else:
        length = getattr(tokenizer, "context_length", None) or getattr(tokenizer, "model_max_length", None)
    return int(length) if length is not None and 2 <= length <= _LONGEST else None


def original_tokens(tokenizer: Any, texts: Sequence[str], context_length: int) -> npt.NDArray[np.int64]:
    """Token ids (n, context_length) as the tokenizer itself returns them.

    Raises
    ------
    ExportError
        If the tokenizer fails, returns anything else, or ``context_length`` is not an integer from 2 to 65536.
    """
    if not isinstance(context_length, int) or not 2 <= context_length <= _LONGEST:
        raise ExportError(f"the context length must be an integer from 2 to {_LONGEST}, got {context_length!r}")
    kind, strings = _kind(tokenizer), list(texts)
    with _failures("cannot split texts into tokens"):
        if kind == "open_clip":
            ids = tokenizer(strings, context_length)
        elif kind == "transformers":
            ids = tokenizer(strings, padding="max_length", truncation=True, max_length=context_length)["input_ids"]
        else:
            ids = [encoding.ids for encoding in _padded(tokenizer, context_length).encode_batch(strings)]
        tokens = np.asarray(ids, np.int64)
    expected = (len(strings), context_length)
    if tokens.shape != expected:
        raise ExportError(f"the tokenizer must return ids of the shape {expected}, got {tokens.shape}")
    return tokens


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """One error for what tokenizers raise: any exception, and panics of Rust, which are none."""
    try:
        yield
    except (ExportError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise ExportError(f"the tokenizer {what}: {first_line(error)}") from error


@_failures("cannot be written as tokenizer.json")
def convert_tokenizer(tokenizer: Any, path: Path) -> str:
    """Write a tokenizer as ``tokenizer.json``.

    Parameters
    ----------
    tokenizer : object
        Of one of the kinds above.
    path : Path
        File to write.

    Returns
    -------
    str
        How a string is cleaned first; one of :data:`fastconcept.encoders.tokenizer.CLEANERS`.

    Raises
    ------
    ExportError
        If the tokenizer has a mode that a ``tokenizer.json`` cannot reproduce exactly.
    """
    kind, clean = _kind(tokenizer), "none"
    if type(tokenizer).__name__ == "SimpleTokenizer":
        clean = _simple_clean(tokenizer)
        text = json.dumps(_clip_document(tokenizer), ensure_ascii=False)
    elif kind == "open_clip":
        siglip = type(tokenizer).__name__ == "SigLipTokenizer"
        clean = "canonicalize" if siglip else _CLEANERS[tokenizer.clean_fn.__name__]
        text = _hugging_face_document(tokenizer)
    elif kind == "transformers":
        tokenizer(["the first call tells the fast tokenizer how to pad"], padding=True)
        text = str(tokenizer.backend_tokenizer.to_str())
    else:
        text = str(tokenizer.to_str())
    path.write_text(text, encoding="utf-8")
    return clean


def check_empty_text(tokenizer: Tokenizer) -> None:
    """Raise :class:`ExportError` if an exported tokenizer gives an empty text no tokens."""
    try:
        tokenizer.tokenize([""])
    except BundleError:
        raise ExportError(
            "the tokenizer gives an empty text no tokens; add a start or end token with its post-processor"
        ) from None


def _kind(tokenizer: Any) -> str:
    import tokenizers

    if type(tokenizer).__name__ in _OPEN_CLIP:
        return "open_clip"
    if hasattr(tokenizer, "backend_tokenizer"):
        return "transformers"
    if isinstance(tokenizer, tokenizers.Tokenizer):
        return "tokenizers"
    raise ExportError(
        f"tokenizers of the class {type(tokenizer).__name__} cannot be exported; give one of open_clip, a fast "
        "tokenizer of transformers, a tokenizers.Tokenizer or the path of a tokenizer.json"
    )


def _padded(tokenizer: Any, context_length: int) -> Any:
    """A copy that returns ``context_length`` ids a text, padded as the original pads, by default with 0."""
    copy = type(tokenizer).from_str(tokenizer.to_str())
    padding = {"pad_id": 0} | (tokenizer.padding or {}) | {"length": context_length}
    copy.enable_padding(**padding)
    copy.enable_truncation(context_length)
    return copy


def _simple_clean(tokenizer: Any) -> str:
    clean = _CLEANERS.get(tokenizer.clean_fn.__name__, "unknown")
    # Where case is preserved, open_clip matches <START_of_text> as one word without taking it for the start token;
    # no pretrained model asks for that, and a tokenizer.json cannot say it.
    if clean not in ("lower", "canonicalize"):
        raise ExportError(f"CLIP's tokenizer with the cleaning {clean!r} cannot be exported exactly")
    if tokenizer.reduction_fn is not None:
        raise ExportError("a tokenizer with a reduction mask drops tokens at random and cannot be exported")
    if len(tokenizer.all_special_ids) != 2 or tokenizer.encoder.get(_END) != len(tokenizer.encoder) - 1:
        raise ExportError("CLIP's tokenizer with additional special tokens cannot be exported exactly")
    return clean


def _clip_document(tokenizer: Any) -> dict[str, Any]:
    """CLIP's byte-pair encoding as the tokenizers package spells it.

    open_clip takes "<end_of_text>" inside a text for the end token, but only where its word pattern starts a
    match there ("!<end_of_text>" is punctuation and letters). Declaring an added token would match anywhere, so
    the pattern yields the word, and merges appended after all others join its pieces into the token.
    """
    vocabulary = dict(tokenizer.encoder)
    merges = [list(pair) for pair, _ in sorted(tokenizer.bpe_ranks.items(), key=lambda item: item[1])]
    for special in (_START, _END):
        identifier = vocabulary.pop(special)
        pieces = _merge_by_rank(special, tokenizer.bpe_ranks)
        joined = pieces[0]
        for piece in pieces[1:]:
            merges.append([joined, piece])
            joined += piece
            vocabulary[joined] = identifier if piece is pieces[-1] else len(tokenizer.encoder) + len(merges)
    vocabulary = _close_gaps(vocabulary, len(tokenizer.encoder))
    split = {"type": "Split", "pattern": {"Regex": _word_pattern()}, "behavior": "Removed", "invert": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": _template(tokenizer.sot_token_id, tokenizer.eot_token_id),
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def _template(start: int, end: int) -> dict[str, Any]:
    def special(name: str, identifier: int) -> dict[str, Any]:
        return {"id": name, "ids": [identifier], "tokens": [name]}

    single = [
        {"SpecialToken": {"id": _START, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": _END, "type_id": 0}},
    ]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single,
        "special_tokens": {_START: special(_START, start), _END: special(_END, end)},
    }


def _merge_by_rank(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Pieces of one word after every merge that applies, lowest rank first."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    while True:
        pairs = [(ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(pieces))]
        rank, at = min(pairs)
        if rank == len(ranks):
            return pieces
        pieces[at : at + 2] = ["".join(pieces[at : at + 2])]


def _close_gaps(vocabulary: dict[str, int], size: int) -> dict[str, int]:
    """Number the ids from ``size`` up without gaps, in their order."""
    extra = sorted((identifier, token) for token, identifier in vocabulary.items() if identifier >= size)
    return vocabulary | {token: size + at for at, (_, token) in enumerate(extra)}


def _word_pattern() -> str:
    """The words of CLIP's byte-pair encoding, with its character classes spelled out as code points.

    open_clip uses the ``regex`` package, whose Unicode tables are years ahead of those inside ``tokenizers``
    (17,000 letters differ) and whose flag for ignoring case makes the long s (U+017F) an s and takes U+0345,
    a mark that is a letter in upper case, for neither letter nor mark.
    """
    letters, digits = _code_points(r"[\p{L}]"), _code_points(r"[\p{N}]")
    no_marks = _code_points(r"[^\s\p{L}\p{N}]", invert=True)
    specials = f"{_START}|<ſtart_of_text>|{_END}"
    return rf"{specials}|'[sſ]|'t|'re|'ve|'m|'ll|'d|[{letters}]+|[{digits}]|[^{no_marks}]+"


def _code_points(pattern: str, invert: bool = False) -> str:
    """Ranges of a character class for every character that matches ``pattern``, or that does not."""
    import regex

    characters = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    matching = set(regex.findall(pattern, characters, regex.IGNORECASE))
    runs: list[list[int]] = []
    for character in characters:
        if (character in matching) is invert:
            continue
        point = ord(character)
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in runs)


def _hugging_face_document(tokenizer: Any) -> str:
    """The fast tokenizer inside an ``HFTokenizer``, with its padding."""
    if getattr(tokenizer, "tokenizer_mode", ""):
        raise ExportError(f"the tokenizer mode {tokenizer.tokenizer_mode!r} cannot be exported exactly")
    backend = getattr(tokenizer.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ExportError(f"{type(tokenizer.tokenizer).__name__} is not a fast tokenizer and cannot be exported")
    tokenizer(["padding and truncation are set by the first call"])
    text = str(backend.to_str())
    if not getattr(tokenizer, "strip_sep_token", False):
        return text
    return json.dumps(_without_separator(json.loads(text), tokenizer.tokenizer.sep_token), ensure_ascii=False)


def _without_separator(document: dict[str, Any], separator: str) -> dict[str, Any]:
    """The same tokenizer, where the id of the separator is 0: what open_clip makes of it for models of CLIPA."""
    special = (document.get("post_processor") or {}).get("special_tokens", {}).get(separator)
    if special is None or document["model"].get("type") != "WordPiece":
        raise ExportError(f"a tokenizer that strips {separator} is exported only if it is a WordPiece of BERT's kind")
    special["ids"] = [0]
    document["model"]["vocab"][separator] = 0
    for token in document["added_tokens"]:
        if token["content"] == separator:
            token["id"] = 0
    return document
