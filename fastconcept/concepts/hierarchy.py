"""The hypernym graph of a taxonomy: which node is above or below which, without words."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import ArrayLike

from ..doors import door, whole
from ..errors import InputError
from ..kernels.forks import cached_property
from .graph import Csr, Int32, Int64, as_nodes


class Hierarchy:
    """A directed acyclic graph whose edges lead from each node to its hypernyms.

    A node is an index in ``range(len(hierarchy))``. A class has *hypernyms* (``@`` in WordNet: a dog is a canine); an
    individual has *instance hypernyms* (``@i``: Einstein is a physicist). Subtrees and closures follow the first kind
    only, as ConVis does; paths, depth and order follow both.

    Parameters
    ----------
    hypernyms, instances : Csr
        N rows each: the hypernyms, and the instance hypernyms, of every node.

    Raises
    ------
    InputError
        If the two differ in length, or the edges form a cycle.
    """

    def __init__(self, hypernyms: Csr, instances: Csr) -> None:
        if len(hypernyms) != len(instances):
            raise InputError(f"{len(hypernyms)} rows of hypernyms but {len(instances)} of instance hypernyms")
        self._hypernyms, self._instances = hypernyms, instances
        self._upward = hypernyms.merge(instances)
        self._upward.depth  # noqa: B018 (raises InputError on a cycle, before anything walks the graph)

    def __len__(self) -> int:
        return len(self._hypernyms)

    def _node(self, i: int) -> int:
        node = whole("a synset index", i)
        if not 0 <= node < len(self):
            raise InputError(f"synset index {node} is out of range; this taxonomy has 0..{len(self) - 1}")
        return node

    @property
    def parent_indptr(self) -> Int64:
        """(N + 1,) int64: where each node's hypernyms start in :attr:`parent_indices`."""
        return self._hypernyms.indptr

    @property
    def parent_indices(self) -> Int32:
        """(E,) int32: hypernyms of every node, in WordNet's order."""
        return self._hypernyms.indices

    @cached_property
    def _hyponyms(self) -> Csr:
        return self._hypernyms.transpose()

    @property
    def child_indptr(self) -> Int64:
        """(N + 1,) int64: where each node's hyponyms start in :attr:`child_indices`."""
        return self._hyponyms.indptr

    @property
    def child_indices(self) -> Int32:
        """(E,) int32: hyponyms of every node, ascending."""
        return self._hyponyms.indices

    @property
    def depth(self) -> Int32:
        """(N,) int32: edges on the longest path to a root, instance hypernyms included."""
        return self._upward.depth

    @cached_property
    def order(self) -> Int32:
        """(N,) int32: every node after all of its hyponyms and instances (by falling depth, then ascending)."""
        return np.argsort(-self.depth, kind="stable").astype(np.int32)

    @cached_property
    def subtree_sizes(self) -> Int64:
        """Number of nodes in the subtree of every node, itself included, (N,) int64."""
        parents = [row.tolist() for row in self._hypernyms.lists.rows()]
        closures: list[tuple[int, ...]] = [()] * len(self)
        for node in self.order[::-1].tolist():  # hypernyms first
            closures[node] = tuple({node, *chain.from_iterable(closures[parent] for parent in parents[node])})
        sizes = np.bincount(np.fromiter(chain.from_iterable(closures), np.int64), minlength=len(self))
        sizes.flags.writeable = False
        return sizes

    def parents(self, i: int) -> Int32:
        """Hypernyms of a node, in WordNet's order."""
        return self._hypernyms.row(self._node(i))

    def instance_parents(self, i: int) -> Int32:
        """Instance hypernyms of a node, in WordNet's order; empty unless it is an individual."""
        return self._instances.row(self._node(i))

    def children(self, i: int) -> Int32:
        """Hyponyms of a node, ascending, without its instances."""
        return self._hyponyms.row(self._node(i))

    def subtree(self, i: int) -> Int32:
        """A node and all its descendants, ascending, without instances."""
        return self._hyponyms.reach(np.array([self._node(i)], np.int32))

    def leaves(self, i: int) -> Int32:
        """The nodes of the subtree that have no hyponyms, ascending; a leaf is its own only leaf."""
        nodes = self.subtree(i)
        leaves: Int32 = nodes[self.child_indptr[nodes] == self.child_indptr[nodes + 1]]
        return leaves

    def closure(self, indices: ArrayLike) -> Int32:
        """Nodes and all their hypernyms up to the roots, ascending, without instance hypernyms."""
        return self._hypernyms.reach(np.unique(as_nodes(indices, len(self))))

    @door
    def paths_to_root(self, i: int, limit: int = 1000) -> list[list[int]]:
        """At most ``limit`` paths, each from a node to a root; those by the first hypernyms come first.

        Examples
        --------
        >>> from fastconcept.concepts.taxonomy import Taxonomy
        >>> wordnet = Taxonomy.builtin()
        >>> [len(path) for path in wordnet.paths_to_root(wordnet.index("dog.n.01"))]
        [14, 9]
        """
        return self._upward.paths(self._node(i), limit)

    def path_to_root(self, i: int) -> list[int]:
        """The shortest path from a node to a root; of several, the one by the first hypernyms.

        Examples
        --------
        >>> from fastconcept.concepts.taxonomy import Taxonomy
        >>> wordnet = Taxonomy.builtin()
        >>> " ".join(wordnet.names[j] for j in wordnet.path_to_root(wordnet.index("cat.n.01")))
        'cat.n.01 feline.n.01 carnivore.n.01 placental.n.01 mammal.n.01 vertebrate.n.01 chordate.n.01 animal.n.01
        organism.n.01 living_thing.n.01 whole.n.02 object.n.01 physical_entity.n.01 entity.n.01'
        """
        start = self._node(i)
        came_from = {start: -1}
        for node in (queue := [start]):  # grows while it is read: breadth first
            above = self._upward.row(node).tolist()
            if not above:
                break
            for target in above:
                if target not in came_from:
                    came_from[target] = node
                    queue.append(target)
        path = [node]
        while came_from[path[-1]] >= 0:
            path.append(came_from[path[-1]])
        return path[::-1]
