"""The experiments of the papers on any labelled images, beside null controls."""
