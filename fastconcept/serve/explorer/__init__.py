"""The explorer: a page on which the maps of a photograph are browsed by hierarchy, searched and compared."""
