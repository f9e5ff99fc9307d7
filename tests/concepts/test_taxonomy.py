"""The shipped taxonomy: WordNet 3.0 as everyone knows it, and its parts."""

from __future__ import annotations

import numpy as np
import pytest

from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.errors import ConceptError, InputError


@pytest.fixture(scope="module")
def wordnet() -> Taxonomy:
    return Taxonomy.builtin()


def test_all_nouns_are_there(wordnet: Taxonomy) -> None:
    assert len(wordnet) == len(wordnet.names) == len(set(wordnet.names)) == len(wordnet.definitions) == 82_115
    assert wordnet.version == "3.0"
    assert np.all(np.diff(wordnet.offsets) > 0)
    assert (wordnet.parent_indices.size, wordnet.child_indices.size) == (75_850, 75_850)
    assert sum(len(wordnet.instance_parents(i)) for i in range(len(wordnet))) == 8_577


def test_entity_has_everything_but_the_instances_under_it(wordnet: Taxonomy) -> None:
    entity = wordnet.index("entity.n.01")
    assert len(wordnet.subtree(entity)) == 74_374  # itself among them
    alone = [i for i in range(len(wordnet)) if not len(wordnet.parents(i)) and len(wordnet.instance_parents(i))]
    assert len(alone) == 7_725
    assert {path[-1] for i in alone[::50] for path in wordnet.paths_to_root(i)} == {entity}


def test_edges_agree_in_both_directions(wordnet: Taxonomy) -> None:
    parents = np.repeat(wordnet.parent_indices, 1)
    nodes = np.repeat(np.arange(len(wordnet)), np.diff(wordnet.parent_indptr))
    upward = set(zip(nodes.tolist(), parents.tolist(), strict=True))
    above = np.repeat(np.arange(len(wordnet)), np.diff(wordnet.child_indptr))
    assert set(zip(wordnet.child_indices.tolist(), above.tolist(), strict=True)) == upward
    place = np.argsort(wordnet.order)
    assert np.all(place[nodes] < place[parents])
    assert wordnet.depth.max() == 19


def test_dog_has_two_parents_and_two_paths(wordnet: Taxonomy) -> None:
    dog = wordnet.index("dog.n.01")
    assert [wordnet.names[i] for i in wordnet.parents(dog)] == ["canine.n.02", "domestic_animal.n.01"]
    paths = [[wordnet.names[i] for i in path] for path in wordnet.paths_to_root(dog)]
    assert [path[1] for path in paths] == ["canine.n.02", "domestic_animal.n.01"]
    assert {path[-1] for path in paths} == {"entity.n.01"}
    assert [wordnet.names[i] for i in wordnet.path_to_root(dog)] == paths[1]


def test_an_individual_reaches_the_root_by_way_of_its_class(wordnet: Taxonomy) -> None:
    einstein = wordnet.index("einstein.n.01")
    assert not len(wordnet.parents(einstein))
    assert [wordnet.names[i] for i in wordnet.instance_parents(einstein)] == ["physicist.n.01"]
    assert wordnet.names[wordnet.path_to_root(einstein)[-1]] == "entity.n.01"
    assert einstein not in wordnet.subtree(wordnet.index("physicist.n.01"))


def test_the_words_of_a_synset(wordnet: Taxonomy) -> None:
    bear = wordnet.index("ice_bear.n.01")
    assert wordnet.wnids[bear] == "n02134084"
    assert wordnet.lemmas(bear) == ("ice_bear", "polar_bear", "Ursus_Maritimus", "Thalarctos_maritimus")
    assert wordnet.lemmas(bear, spaces=True)[1] == "polar bear"
    assert wordnet.definitions[bear] == "white bear of Arctic regions"


def test_bad_indices_are_refused(wordnet: Taxonomy) -> None:
    for bad in (-1, len(wordnet)):
        for method in (
            wordnet.parents,
            wordnet.children,
            wordnet.subtree,
            wordnet.leaves,
            wordnet.lemmas,
            wordnet.path_to_root,
        ):
            with pytest.raises(InputError, match="out of range"):
                method(bad)
    for odd in (1.5, "a", None, [1]):
        with pytest.raises(InputError, match="must be an integer"):
            wordnet.parents(odd)
    for ids in ([5, 4], [4, 4], [-1], [len(wordnet)], [0.0], [[1], [2, 3]], "ab"):
        with pytest.raises(InputError):
            wordnet.induced(ids)


def test_a_part_keeps_its_words_and_the_edges_inside_it(wordnet: Taxonomy) -> None:
    ids = wordnet.closure([wordnet.index("dog.n.01"), wordnet.index("cat.n.01")])
    part = wordnet.induced(ids)
    assert part.names == tuple(wordnet.names[i] for i in ids)
    assert part.definitions == tuple(wordnet.definitions[i] for i in ids)
    assert part.wnids == tuple(wordnet.wnids[i] for i in ids)
    for i, whole in enumerate(ids.tolist()):
        assert part.lemmas(i) == wordnet.lemmas(whole)
        assert [part.names[j] for j in part.parents(i)] == [wordnet.names[j] for j in wordnet.parents(whole)]
    assert len(part.subtree(part.index("entity.n.01"))) == len(part)
    again = part.induced(part.subtree(part.index("carnivore.n.01")))
    assert set(again.names) == {"carnivore.n.01", "canine.n.02", "dog.n.01", "feline.n.01", "cat.n.01"}
    assert again.names[again.path_to_root(again.index("cat.n.01"))[-1]] == "carnivore.n.01"


def test_a_part_with_gaps_makes_up_no_edges(wordnet: Taxonomy) -> None:
    ids = sorted(map(wordnet.index, ("animal.n.01", "dog.n.01")))
    part = wordnet.induced(ids)
    assert part.subtree(part.index("animal.n.01")).tolist() == [part.index("animal.n.01")]


def test_an_empty_part(wordnet: Taxonomy) -> None:
    part = wordnet.induced([])
    assert (len(part), part.names, part.order.size) == (0, (), 0)
    with pytest.raises(ConceptError):
        part.index("dgo.n.01")


def test_building_from_synsets() -> None:
    taxonomy = Taxonomy.from_synsets(
        [1, 20, 300],
        [["Thing"], ["cat", "Felis"], ["Tom"]],
        [[1], [2, 1], [1]],
        ["x", "y", "z"],
        [[], [0], []],
        [[], [], [1]],
    )
    assert taxonomy.names == ("thing.n.01", "cat.n.02", "tom.n.01")
    assert taxonomy.wnids[2] == "n00000300"
    assert taxonomy.depth.tolist() == [0, 1, 2]
    assert taxonomy.subtree(0).tolist() == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": [20, 1]},
        {"offsets": [1, 100_000_000]},
        {"offsets": [1]},
        {"lemmas": [["a b"], ["c"]]},
        {"lemmas": [[], ["c"]]},
        {"lemmas": [[""], ["c"]]},
        {"senses": [[0], [1]]},
        {"senses": [[256], [1]]},
        {"senses": [[1, 2], [1]]},
        {"definitions": ["one"]},
        {"definitions": ["one", "two\nlines"]},
        {"definitions": ["one", "\ud800"]},
        {"hypernyms": [[1], [0]]},
        {"hypernyms": [[2], []]},
        {"hypernyms": [[]]},
        {"plurals": {"mice": ["m ouse"]}},
    ],
)
def test_building_from_nonsense_is_refused(change: dict[str, object]) -> None:
    good = {
        "offsets": [1, 20],
        "lemmas": [["a"], ["b"]],
        "senses": [[1], [1]],
        "definitions": ["one", "two"],
        "hypernyms": [[], [0]],
        "instance_hypernyms": [[], []],
    }
    Taxonomy.from_synsets(**good)
    with pytest.raises(InputError):
        Taxonomy.from_synsets(**(good | change))
