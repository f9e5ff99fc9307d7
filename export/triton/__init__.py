"""Model repositories for NVIDIA Triton Inference Server."""

from .repository import export_triton

__all__ = ["export_triton"]
