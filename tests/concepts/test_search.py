"""Names, words and phrases: what a user's text is taken to mean."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconcept.concepts.nearby import NearNames, edit_distance
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.errors import ConceptError


@pytest.fixture(scope="module")
def wordnet() -> Taxonomy:
    return Taxonomy.builtin()


@pytest.fixture(scope="module")
def animals(wordnet: Taxonomy) -> Taxonomy:
    return wordnet.induced(wordnet.subtree(wordnet.index("animal.n.01")))


@pytest.mark.parametrize(
    "name",
    [
        "dog.n.01",
        "DOG.N.01",
        " dog.n.01 ",
        "dog.n.1",
        "n02084071",
        "N02084071",
        "domestic_dog.n.01",
        "domestic dog.n.01",
    ],
)
def test_a_synset_has_many_spellings(wordnet: Taxonomy, name: str) -> None:
    assert wordnet.names[wordnet.index(name)] == "dog.n.01"
    resolved = wordnet.resolve(name)
    assert resolved.kind == ("wnid" if name[0] in "nN" else "synset")
    assert (resolved.index, resolved.note) == (wordnet.index(name), "")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dgo.n.01", "dog.n.01"),
        ("elefant.n.01", "elephant.n.01"),
        ("polr_bear.n.01", "polar_bear.n.01"),
        ("dog.n.88", "dog.n.01"),
        ("Polar Bear.n.02", "polar_bear.n.01"),
        ("run.v.01", "run.n.01"),
        ("mice.n.01", "mouse.n.01"),
        ("anthropomorfism.n.01", "anthropomorphism.n.01"),
        ("hummingbrd.n.01", "hummingbird.n.01"),
    ],
)
def test_an_unknown_name_brings_near_ones_at_once(wordnet: Taxonomy, name: str, meant: str) -> None:
    for method in (wordnet.index, wordnet.resolve):
        with pytest.raises(ConceptError) as caught:
            method(name)
        assert caught.value.suggestions[0] == meant
        assert name in str(caught.value)
        assert all(wordnet.index(suggestion) >= 0 for suggestion in caught.value.suggestions)
        assert meant in str(caught.value)
    start = time.perf_counter()
    with pytest.raises(ConceptError):
        wordnet.index(name)
    assert time.perf_counter() - start < 0.5  # 0.01 to 0.04 s on an idle machine


@pytest.mark.parametrize(
    "name",
    [
        "dog",
        "",
        ".n.01",
        "n99999999",
        "n0208407",
        "zzzzqqq.n.01",
        "dog.n.99999999999999999999",
        "狗.n.01",
        "\ud800.n.01",
    ],
)
def test_names_of_nothing_are_concept_errors(wordnet: Taxonomy, name: str) -> None:
    with pytest.raises(ConceptError):
        wordnet.index(name)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("dog", "dog.n.01"),
        ("Dog", "dog.n.01"),
        ("polar bear", "ice_bear.n.01"),
        ("polar_bear", "ice_bear.n.01"),
        (" Polar   bears ", "ice_bear.n.01"),
        ("mice", "mouse.n.01"),
        ("children", "child.n.01"),
        ("churches", "church.n.01"),
        ("jack-o'-lantern", "friar's_lantern.n.01"),
        ("glasses", "spectacles.n.01"),
    ],
)
def test_a_word_is_its_first_noun_sense_and_the_note_says_so(wordnet: Taxonomy, text: str, meant: str) -> None:
    resolved = wordnet.resolve(text)
    assert (resolved.kind, resolved.index) == ("word", wordnet.index(meant))
    assert meant in resolved.note
    assert wordnet.definitions[wordnet.index(meant)] in resolved.note


@pytest.mark.parametrize(
    "text", ["a red ball", "zzzzqqq", "dog.", "dog.n", "Mr. n. 5", "狗", "\ud800", "s", "x" * 10_000]
)
def test_anything_else_is_a_phrase_or_a_word(wordnet: Taxonomy, text: str) -> None:
    resolved = wordnet.resolve(text)
    assert (resolved.kind, resolved.index) == ("phrase", None) or text == "s"


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_nothing_names_no_concept(wordnet: Taxonomy, text: str) -> None:
    with pytest.raises(ConceptError):
        wordnet.resolve(text)


@given(st.text(max_size=30))
def test_any_text_is_resolved_or_refused(text: str) -> None:
    wordnet = Taxonomy.builtin()
    try:
        resolved = wordnet.resolve(text)
    except ConceptError:
        return
    assert (resolved.index is None) == (resolved.kind == "phrase")


def test_senses_are_those_of_the_word_and_of_its_singulars(wordnet: Taxonomy) -> None:
    assert [wordnet.names[i] for i in wordnet.senses("polar bear")] == ["ice_bear.n.01"]
    glasses = [wordnet.names[i] for i in wordnet.senses("glasses")]
    assert glasses[0] == "spectacles.n.01"
    assert "glass.n.01" in glasses
    assert wordnet.senses("zzzzqqq") == []


def test_a_part_knows_what_it_leaves_out(animals: Taxonomy) -> None:
    with pytest.raises(ConceptError, match="is a noun of WordNet, but not one of"):
        animals.index("chair.n.01")
    resolved = animals.resolve("chair.n.01")
    assert (resolved.kind, resolved.index) == ("synset", None)
    assert "chair.n.01" in resolved.note
    assert animals.resolve("n03001627").kind == "wnid"
    with pytest.raises(ConceptError, match=r"did you mean dog\.n\.01"):
        animals.resolve("dgo.n.01")
    with pytest.raises(ConceptError, match=r"did you mean harmonica\.n\.01"):
        animals.resolve("harmonika.n.01")  # not an animal, but WordNet has it, and the user may mean it


def test_a_part_suggests_what_is_more_general(wordnet: Taxonomy) -> None:
    part = wordnet.induced(wordnet.closure([wordnet.index("canine.n.02")]))
    with pytest.raises(ConceptError) as caught:
        part.index("dog.n.01")
    assert caught.value.suggestions[0] == "canine.n.02"


def test_a_word_of_a_part_takes_the_first_sense_that_is_there(animals: Taxonomy, wordnet: Taxonomy) -> None:
    assert wordnet.names[wordnet.senses("crane")[0]] == "crane.n.01"
    resolved = animals.resolve("crane")
    assert resolved.index is not None
    assert animals.names[resolved.index] == "crane.n.05"
    assert "here" in resolved.note


def test_search_puts_the_word_itself_first(wordnet: Taxonomy) -> None:
    names = [wordnet.names[i] for i in wordnet.search("dog", limit=1000)]
    assert names[:3] == ["dog.n.01", "frump.n.01", "dog.n.03"]
    assert len(names) == len(set(names))
    places = [names.index(name) for name in ("dog.n.01", "dogma.n.01", "bird_dog.n.01", "pawl.n.01")]
    assert places[0] < places[3] < places[1] < places[2]
    assert "kennel.n.01" in names  # only its definition speaks of dogs


@pytest.mark.parametrize(("text", "limit"), [("", 20), ("  ", 20), ("dog", 0), ("zzzzqqq", 20)])
def test_search_may_find_nothing(wordnet: Taxonomy, text: str, limit: int) -> None:
    assert wordnet.search(text, limit) == []


def test_search_stops_at_its_limit(wordnet: Taxonomy) -> None:
    assert len(wordnet.search("a", limit=7)) == 7


def osa(a: str, b: str) -> int:
    """Optimal string alignment distance, straight from its recurrence."""
    d = {(i, j): i + j for i in range(len(a) + 1) for j in range(len(b) + 1) if i * j == 0}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return d[len(a), len(b)]


letters = st.text("abcd_", max_size=8)


@given(letters, letters, st.integers(0, 4))
def test_edit_distance_is_exact_up_to_its_bound(a: str, b: str, bound: int) -> None:
    assert edit_distance(a, b, bound) == min(osa(a, b), bound + 1)


@given(
    st.lists(st.text("abc", min_size=1, max_size=6), unique=True, max_size=30), st.text("abcd", min_size=1, max_size=6)
)
def test_no_name_within_reach_is_missed(names: list[str], text: str) -> None:
    bound = max(1, min(3, len(text) // 3))
    reach = [name for name in names if osa(text, name) <= bound]
    near = NearNames(names).find(text, limit=100)
    assert set(reach) <= set(near)
    assert [osa(text, name) for name in near[: len(reach)]] == sorted(osa(text, name) for name in reach)


def test_near_names_are_found_in_any_case_and_script() -> None:
    assert NearNames(["Zebra", "STRASSE", "über"]).find("zebre") == ["Zebra"]
    assert NearNames(["straße", "gasse"]).find("strasse") == ["straße"]
    assert NearNames(["straße", "über"]).find("uber") == ["über"]
    assert NearNames(["two\nlines", "zebra"]).find("zebre") == ["zebra"]
    assert NearNames([]).find("zebra") == []
    assert NearNames(["zebra"]).find("") == []
