"""``fastconcept batch decompose``: the words of every image of a source."""

from __future__ import annotations

from ...jobs.tasks import Decompose
from ..options import SharedSparsity
from ..verb import Answer, verb
from .run import EmbeddingsOption, SharedJob


@verb
def command(job: SharedJob, sparsity: SharedSparsity, embeddings: EmbeddingsOption = False) -> Answer:
    """Write a few words for every image, each with its weight."""
    return job.run(Decompose(**sparsity, embeddings=embeddings))
