"""What belongs in a bug report can always be told, whatever is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastconcept.environment import environment


def test_facts_are_plain_values() -> None:
    facts = environment()
    assert json.loads(json.dumps(facts)) == facts
    assert {"python", "platform", "packages", "cpu", "instruction_sets", "num_threads", "gpus"} <= set(facts)
    assert facts["packages"]["fastconcept"] and facts["num_threads"] >= 1


@pytest.mark.parametrize(
    "script, gpus", [("echo 'H100, 580.1, 81559 MiB'", ["H100, 580.1, 81559 MiB"]), ("exit 9", [])]
)
def test_gpus_are_those_of_nvidia_smi(
    script: str, gpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["gpus"] == gpus
