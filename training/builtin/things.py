"""The concepts that the built-in model's bundle ranks over: a list of our own, made by a rule from WordNet.

What people name most, and whole families of what photographs show: the first sense of every frequent noun that is a
living thing, a thing made, food or a piece of nature, and everything below :data:`FAMILIES`.
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
