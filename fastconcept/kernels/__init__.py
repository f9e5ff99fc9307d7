"""The same few functions three times: compiled (cpu), on the GPU (cuda), plain NumPy in float64 (reference)."""
