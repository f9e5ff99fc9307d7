"""Encoders turn pixels or strings into unit rows (n, d)."""
