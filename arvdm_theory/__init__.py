"""Error analysis of auto-regressive video diffusion models, exact on Gaussian video."""

__version__ = "0.1.0"
