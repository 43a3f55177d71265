"""Learning fairly from synthetic data: quality-diversity generative sampling in Lightning."""

__version__ = "0.1.0.dev0"
