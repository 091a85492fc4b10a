"""leafzoom finds diseases on apple leaves by looking closer (a recurrent attention CNN)."""

__version__ = "0.1.0"

__all__ = ["__version__"]
