"""The experiments of the papers on any labelled images; every number stands next to those of null controls."""
