"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.load_profile("project")

SHARED = Path(os.environ.get("FASTCONCEPT_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data beside the project; tests that need it skip where it is absent."""
    if not (SHARED / "reference").is_dir():
        pytest.skip(f"development data not found at {SHARED} (set FASTCONCEPT_SHARED)")
    return SHARED
