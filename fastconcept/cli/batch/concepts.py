"""``fastconcept batch concepts``: what the model sees in every image of a source."""

from __future__ import annotations

from ...jobs.tasks import Concepts
from ..options import BelowOption, SharedLayout, TopOption
from ..verb import Answer, verb
from .run import EmbeddingsOption, SharedJob


@verb
def command(
    job: SharedJob,
    layout: SharedLayout,
    top: TopOption = 10,
    below: BelowOption = None,
    embeddings: EmbeddingsOption = False,
) -> Answer:
    """Write the concepts that the model sees in every image, best first."""
    return job.run(Concepts(top, below, layout, embeddings))
