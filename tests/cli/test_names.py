"""An option is named as the Python keyword that it stands for, and the same idea has one name in every verb."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import fastconcept.bench
from fastconcept import Engine, load
from fastconcept.cli import app
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.evaluate import (
    ablate,
    answers,
    concepts,
    drift,
    edit,
    localize,
    modes,
    ood,
    probe,
    retrieval,
    study,
    zeroshot,
)
from fastconcept.export import Contents, export_open_clip
from fastconcept.export.tensorrt.build import build_plan
from fastconcept.export.triton import export_triton
from fastconcept.jobs.batch import batch
from fastconcept.jobs.cluster import Cluster
from fastconcept.jobs.tasks import Concepts, Decompose, Embed, Explain
from fastconcept.saliency.layout import Layout
from fastconcept.saliency.reading import Reading
from fastconcept.serve.limits import Limits

ROOT = Path(__file__).resolve().parents[2]
DATA = {"data", "images", "masks", "columns", "labels", "where", "sample", "strict", "seed"}  # Dataset's methods
ANSWER = {"output", "json", "help"}
SWEEP = {"sweep", "sweep_scores", "sweep_aggregates", "sweep_borders", "sweep_short_sides", "sweep_parts"}

# For every verb: the functions it calls, and names that are the command line's own.
VERBS: dict[str, tuple[list[Callable[..., Any]], set[str]]] = {
    "explain": ([load, Engine.explain], {"images", "npy", "box"}),
    "concepts": ([load, Engine.concepts], {"images"}),
    "decompose": ([load, Engine.decompose], {"top"}),
    "stream": ([load, Engine.stream], {"limit"}),
    "search": ([Taxonomy.search], {"words"}),
    "report": ([load, Layout, Reading], {"images", "limit", "strict"}),
    "bench": ([load, fastconcept.bench.measure], {"synthetic", "earlier"}),
    "info": ([load], set()),
    "explore": ([load, Layout], {"images", "port", "browser", "limit", "study", "answers"}),
    "serve": ([load, Limits], {"host", "port", "hosts", "api_keys", "cors_origins"}),
    "export": ([Contents, export_open_clip, build_plan, export_triton], {"tensorrt", "triton"}),
    "batch decompose": ([load, batch, Cluster, Decompose], {"ray"}),
    "batch explain": ([load, batch, Cluster, Explain, Layout, Reading], {"ray"}),
    "batch concepts": ([load, batch, Cluster, Concepts, Layout], {"ray"}),
    "batch embed": ([load, batch, Cluster, Embed], {"ray"}),
    "evaluate localize": ([load, localize.localize, Layout, Reading], DATA | SWEEP),
    "evaluate modes": ([load, modes.modes, Layout, Reading], DATA),
    "evaluate concepts": ([load, concepts.concepts], DATA),
    "evaluate edit": ([load, edit.edit], DATA),
    "evaluate drift": ([load, drift.drift], DATA),
    "evaluate ood": ([load, ood.ood], DATA | {"pairs"}),
    "evaluate zeroshot": ([load, zeroshot.zeroshot], DATA),
    "evaluate ablate": ([load, ablate.ablate], DATA),
    "evaluate probe": ([load, probe.probe], DATA),
    "evaluate retrieval": ([load, retrieval.retrieval], DATA),
    "evaluate study": ([load, study.study], DATA),
    "evaluate answers": ([answers.answers], set()),
}

# Keywords that need no option: what the command line makes itself, and what nobody has asked to choose.
MADE_HERE = {"self", "engine", "dataset", "image", "embeddings", "texts", "options", "progress"}
IN_PYTHON = {"out", "contents", "images", "folder", "measure"}  # of export: --output, options of its own, the gate's
NOT_OFFERED = {"repeats", "top", "names"}  # of the bootstrap; words listed per group; scores of ood
NOT_OFFERED |= {"inside", "strides", "smooth"}  # of a reading: --sweep tries them, and --smooth where it is an option


def _commands(group: Any, path: str = "") -> dict[str, Any]:
    commands: dict[str, Any] = {}
    for name, command in group.commands.items():
        full = f"{path} {name}".strip()
        commands |= _commands(command, full) if hasattr(command, "commands") else {full: command}
    return commands


COMMANDS = _commands(typer.main.get_command(app))


def _spellings(command: Any) -> set[str]:
    """The long name of every option, and the names of arguments, as Python spells them."""
    names = (next((name for name in p.opts if name.startswith("--")), p.opts[0]) for p in command.params)
    return {name.removeprefix("--").replace("-", "_") for name in names}


def test_every_verb_is_judged_and_answers_in_json() -> None:
    assert set(COMMANDS) == set(VERBS)
    assert all("json" in _spellings(command) for command in COMMANDS.values())


def test_every_verb_is_documented() -> None:
    page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    assert all(f"`fastconcept {verb.split()[0]} " in page or f"`fastconcept {verb}`" in page for verb in COMMANDS)


def test_documented_commands_exist() -> None:
    """Every command line in the documentation names a verb that exists, and only options that it has."""
    pages = (ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks/results/tasks.md")
    text = "\n".join(page.read_text(encoding="utf-8").replace("\\\n", " ") for page in pages)
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^(?:\$ )?(fastconcept \w.*)", "".join(blocks), re.MULTILINE)
    assert len(lines) > 20
    for line in lines:
        words = line.split()
        verb = " ".join(words[1:3]) if words[1] in ("batch", "evaluate") else words[1]
        known = {name for parameter in COMMANDS[verb].params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_named_as_keywords(verb: str) -> None:
    functions, own = VERBS[verb]
    keywords = {name for function in functions for name in inspect.signature(function).parameters}
    options = _spellings(COMMANDS[verb]) - ANSWER
    assert options <= keywords | own, f"not keywords: {sorted(options - keywords - own)}"
    assert not own & (keywords - DATA), "a name of its own that is a keyword after all"


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"info", "search"}))
def test_every_keyword_is_an_option(verb: str) -> None:
    functions, _ = VERBS[verb]
    keywords = {name for function in functions for name in inspect.signature(function).parameters}
    missing = keywords - MADE_HERE - NOT_OFFERED - _spellings(COMMANDS[verb])
    if verb == "export":
        missing -= IN_PYTHON
    if verb == "evaluate localize":
        missing -= {"reading", "layout", "fit"}  # several options each; the protocol decides on the fit
    if verb == "evaluate modes":
        missing -= {"reading", "layout"}
    if verb.startswith("batch"):
        missing -= {"task", "out", "cluster", "address", "layout", "reading"}  # -o, --ray, and several options each
    assert not missing


def test_one_name_has_one_form() -> None:
    """Options of one name are given in the same way in every verb, and all of them say what they are."""
    forms: dict[str, set[tuple[Any, ...]]] = {}
    for verb, command in COMMANDS.items():
        for parameter in command.params:
            assert parameter.help, f"{verb} {parameter.opts[0]} has no help"
            if parameter.opts[0].startswith("--"):
                forms.setdefault(parameter.opts[0], set()).add((parameter.multiple, parameter.nargs, parameter.metavar))
    assert {name for name, several in forms.items() if len(several) > 1} <= {"--words"}  # export reads them from a file
