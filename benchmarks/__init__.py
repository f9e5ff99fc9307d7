"""Benchmarks: ours beside what people would otherwise run, accuracy in the same row as speed."""
