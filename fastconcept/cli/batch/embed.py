"""``fastconcept batch embed``: the embedding of every image of a source."""

from __future__ import annotations

from ...jobs.tasks import Embed
from ..verb import Answer, verb
from .run import SharedJob


@verb
def command(job: SharedJob) -> Answer:
    """Write the embedding of every image, so that other tools and 'fastconcept evaluate' need not encode it again."""
    return job.run(Embed())
