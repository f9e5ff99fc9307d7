"""From strings to the token ids a text encoder takes, without torch or open_clip.

The ids come from the ``tokenizers`` package and a bundle's ``tokenizer.json``. What open_clip does to a string
*before* it tokenizes (repairing broken encodings, unescaping HTML, white space, case) is done here, because
``tokenizer.json`` cannot express it.
"""

from __future__ import annotations

import html
import os
import re
import string
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import BundleError, InputError
from ..kernels.forks import native_calls

MAX_CHARACTERS = 1_000_000  # of one text; no text encoder sees more than a few hundred tokens
MAX_LINES = 100_000  # ftfy repairs line by line, which takes 35 us even for an empty one
_MAX_TOKENIZER_BYTES = 256 << 20
_NESTED = re.compile(r"&(?:amp;|#38;|#x26;){2,}", re.IGNORECASE)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _basic(text: str) -> str:
    import ftfy

    if "<" not in text:  # else ftfy leaves entities alone
        text = _NESTED.sub("&amp;", text)  # ftfy takes one level at a time, each in a pass over the whole text
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def _whitespace(text: str) -> str:
    return " ".join(_basic(text).split())


def _lower(text: str) -> str:
    return _whitespace(text).lower()


def _canonicalize(text: str) -> str:
    return " ".join(_basic(text).replace("_", " ").translate(_NO_PUNCTUATION).lower().split())


CLEANERS: dict[str, Callable[[str], str]] = {
    "lower": _lower,
    "whitespace": _whitespace,
    "canonicalize": _canonicalize,
    "none": str,
}
"""What a string goes through first, by the names open_clip gives them; "none" leaves it alone."""


class Tokenizer:
    """Token ids as open_clip's tokenizer returns them.

    Parameters
    ----------
    path : str or Path
        A ``tokenizer.json``. Its padding id is used, 0 where it names none.
    context_length : int
        Most ids per text. A longer text keeps its first ids and ends with the end token.
    clean : {"lower", "whitespace", "canonicalize", "none"}
        What happens to a string first.
    dynamic : bool
        True: rows are as long as the longest text of the batch. False: always ``context_length``.

    Raises
    ------
    BundleError
        If the file is missing or is not a tokenizer.
    InputError
        If ``clean`` or ``context_length`` is not one of the above.
    """

    def __init__(
        self, path: str | os.PathLike[str], context_length: int, clean: str = "lower", dynamic: bool = True
    ) -> None:
        import tokenizers

        if clean not in CLEANERS:
            raise InputError(f"clean must be one of {', '.join(CLEANERS)}, got {clean!r}")
        if not 2 <= context_length <= 65536:
            raise InputError(f"context_length must be from 2 to 65536, got {context_length}")
        name = os.fspath(path)
        try:
            if os.path.getsize(name) > _MAX_TOKENIZER_BYTES:
                raise BundleError(f"{name} is larger than {_MAX_TOKENIZER_BYTES >> 20} MiB; this is not a tokenizer")
            with native_calls.one():
                self._tokenizer = tokenizers.Tokenizer.from_file(name)
        except OSError as error:
            raise BundleError(f"{name} cannot be read: {error}; export the model again") from None
        except BundleError:
            raise
        except BaseException as error:
            raise _rust(error, f"{name} is not a tokenizer.json") from None
        self._name = name
        padding = self._tokenizer.padding or {}
        self.pad_id = int(padding.get("pad_id", 0))
        self._pad_left = padding.get("direction") == "left"
        self._tokenizer.no_padding()
        try:
            self._tokenizer.enable_truncation(context_length)
        except BaseException as error:
            raise _rust(error, f"{name} cannot cut texts to {context_length} tokens") from None
        self.context_length, self.dynamic = context_length, dynamic
        self._clean = CLEANERS[clean]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of every text, start and end token included, at most ``context_length`` each.

        Raises
        ------
        InputError
            If ``texts`` is empty, or one of them is not a string, too long, or not valid Unicode.
        BundleError
            If the tokenizer fails, or gives a text no tokens or too many.
        """
        cleaned = [self._clean(text) for text in _check_texts(texts)]
        try:
            with native_calls.one():
                rows = [encoding.ids for encoding in self._tokenizer.encode_batch(cleaned)]
        except BaseException as error:
            raise _rust(error, f"{self._name} cannot split these texts into tokens") from None
        if not all(1 <= len(row) <= self.context_length for row in rows):
            raise BundleError(
                f"{self._name} gives a text no tokens, or more than {self.context_length}; export the model again"
            )
        return rows

    def cut_off(self, texts: Sequence[str]) -> list[bool]:
        """Which of the texts have more tokens than a row takes, so that their end is not read."""
        long = [len(text.encode()) + 2 > self.context_length for text in texts]  # a token has at least one byte
        if not any(long):
            return long
        cleaned = [self._clean(text) for text in texts]
        with native_calls.one():
            encodings = self._tokenizer.encode_batch(cleaned)
        return [bool(encoding.overflowing) for encoding in encodings]

    def pad(self, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
        """Lay rows of ids into one array (n, length): the longest row, or ``context_length`` where fixed."""
        length = max(map(len, rows)) if self.dynamic else self.context_length
        ids = np.full((len(rows), length), self.pad_id, np.int64)
        for target, row in zip(ids, rows, strict=True):
            start = length - len(row) if self._pad_left else 0
            target[start : start + len(row)] = row
        return ids

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Ids of a batch of texts, int64 (n, length); see :meth:`tokenize` and :meth:`pad`."""
        return self.pad(self.tokenize(texts))


def _rust(error: BaseException, what: str) -> BaseException:
    """The error for what the package ``tokenizers`` raised: bare exceptions, and panics that are no ``Exception``."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
        return error
    return BundleError(f"{what}: {error}; export the model again")


def _check_texts(texts: Sequence[str]) -> Sequence[str]:
    """Reject what cannot be tokenized, naming the text."""
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Sequence):
        raise InputError(f"texts must be a list of strings, got {type(texts).__name__}")
    if not texts:
        raise InputError("texts is empty; give at least one string")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{index}] must be a string, got {type(text).__name__}")
        if len(text) > MAX_CHARACTERS:
            raise InputError(f"texts[{index}] has {len(text):,} characters, the limit is {MAX_CHARACTERS:,}")
        if text.count("\n") > MAX_LINES:
            raise InputError(f"texts[{index}] has {text.count(chr(10)):,} line breaks, the limit is {MAX_LINES:,}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"texts[{index}] is not valid Unicode: {error.reason} at {error.start}") from None
    return texts
