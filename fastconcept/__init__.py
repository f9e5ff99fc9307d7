"""fastconcept explains what a CLIP model sees, in words, in real time."""
