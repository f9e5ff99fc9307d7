"""Export: from an open_clip model to a bundle. Needs the [export] extra; the runtime does not."""
