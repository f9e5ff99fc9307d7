"""``fastconcept batch explain``: boxes and scores of concepts in every image of a source."""

from __future__ import annotations

from ...jobs.tasks import Explain
from ..options import ConceptsOption, SharedLayout, SharedReading
from ..verb import Answer, verb
from .run import EmbeddingsOption, SharedJob


@verb
def command(
    job: SharedJob,
    layout: SharedLayout,
    reading: SharedReading,
    concepts: ConceptsOption = [],
    embeddings: EmbeddingsOption = False,
) -> Answer:
    """Write where each concept is in every image; without -c, the concepts that the model sees best in each."""
    return job.run(Explain(tuple(concepts), layout, reading, embeddings))
