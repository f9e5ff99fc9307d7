"""Image towers that give an embedding for every token of one pass, by published changes of their last blocks."""
