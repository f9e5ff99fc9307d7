"""The concepts that the built-in model's bundle ranks over: a list of our own, made by a rule from WordNet.

What people name most, and whole families of what photographs show: the first sense of every frequent noun that is a
living thing, a thing made, food or a piece of nature, everything below :data:`FAMILIES`, and by hand the people and
scenes that photographs show most.
"""

from __future__ import annotations

from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.export.banks import FREQUENT_NOUNS
from fastconcept.export.vocabulary import read_phrases
from fastconcept.export.wordnet import descendants

THINGS = (
    *("animal.n.01", "plant.n.02", "artifact.n.01", "food.n.01", "food.n.02"),
    *("natural_object.n.01", "geological_formation.n.01", "body_of_water.n.01"),
)
FAMILIES = (
    *("carnivore.n.01", "ungulate.n.01", "primate.n.02", "bird.n.01", "reptile.n.01", "arthropod.n.01"),
    *("vehicle.n.01", "furniture.n.01", "musical_instrument.n.01", "garment.n.01", "building.n.01", "container.n.01"),
    *("home_appliance.n.01", "tool.n.01", "sports_equipment.n.01", "electronic_equipment.n.01"),
    *("edible_fruit.n.01", "vegetable.n.01", "dish.n.02"),
)


PEOPLE = (
    *("person.n.01", "man.n.01", "woman.n.01", "child.n.01", "male_child.n.01", "girl.n.01", "baby.n.01", "adult.n.01"),
    *("athlete.n.01", "astronaut.n.01", "bride.n.01", "chef.n.01", "cowboy.n.01", "dancer.n.01", "diver.n.02"),
    *("fireman.n.04", "fisherman.n.01", "musician.n.01", "policeman.n.01", "rider.n.01", "sailor.n.01", "skater.n.01"),
    *("skier.n.01", "soldier.n.01", "surfer.n.01", "swimmer.n.01", "crowd.n.01"),
)
SCENES = (
    *("sky.n.01", "cloud.n.02", "snow.n.01", "sand.n.01", "water.n.01", "sun.n.01", "rainbow.n.01", "smoke.n.01"),
    *("sea.n.01", "forest.n.01", "grass.n.01", "field.n.01", "city.n.01", "garden.n.01", "face.n.01", "hand.n.01"),
)


def things() -> list[str]:
    """Names of synsets in the order of WordNet; with their hypernyms they are about 7,000.

    Examples
    --------
    >>> chosen = things()
    >>> "beagle.n.01" in chosen, "kettle.n.01" in chosen, "idea.n.01" in chosen
    (True, True, False)
    """
    taxonomy = Taxonomy.builtin()
    chosen = {taxonomy.senses(noun)[0] for noun in words()}
    chosen.update(descendants(taxonomy, FAMILIES).tolist())
    chosen.update(taxonomy.index(name) for name in (*PEOPLE, *SCENES))
    return [taxonomy.names[node] for node in sorted(chosen)]


def words() -> list[str]:
    """Frequent nouns whose first sense is a thing, the most frequent first: the words that photographs can show.

    Examples
    --------
    >>> nouns = words()
    >>> "house" in nouns, "justness" in nouns
    (True, False)
    """
    taxonomy = Taxonomy.builtin()
    kinds = set(descendants(taxonomy, THINGS).tolist())
    return [noun for noun in read_phrases(FREQUENT_NOUNS) if taxonomy.senses(noun)[0] in kinds]
