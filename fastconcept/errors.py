"""The exceptions of fastconcept.

Every message names what was given, what was expected, and what to try next. All of them derive from
:class:`FastconceptError`, so one ``except`` catches them; each also derives from the built-in exception a
Python user would expect.
"""

from __future__ import annotations

from collections.abc import Sequence


class FastconceptError(Exception):
    """Base class of every error that fastconcept raises on purpose."""


class InputError(FastconceptError, ValueError):
    """An argument has the wrong shape, type, range or content."""


class ImageError(InputError):
    """An image cannot be read: missing, empty, truncated, of an unknown format or too large."""


class ConceptError(InputError):
    """A concept name is unknown, or no concept was given."""

    def __init__(self, message: str, suggestions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.suggestions = tuple(suggestions)


class BundleError(FastconceptError):
    """A bundle is missing, damaged, newer than this library, or disagrees with itself."""


class DeviceError(FastconceptError, RuntimeError):
    """The device or execution provider asked for is not available; there is no silent fallback."""


class ExportError(FastconceptError):
    """A model could not be exported, or the export does not agree with the original model."""


class MissingDependencyError(FastconceptError, ImportError):
    """A package that belongs to an optional extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; try: pip install "fastconcept[{extra}]"')
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str]]:
        """Pools of processes hand errors on; those that cannot be read again would end the pool."""
        return type(self), (self.package, self.extra)
