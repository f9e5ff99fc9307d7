"""The examples in the docstrings of export run, as those of the runtime do."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from fastconcept import export

MODULES = sorted(module.name for module in pkgutil.iter_modules(export.__path__) if not module.ispkg)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(f"fastconcept.export.{name}")
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=options).failed == 0
