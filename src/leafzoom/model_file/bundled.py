"""The model that ships in the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from leafzoom.errors import ModelError

__all__ = ["bundled_model"]

_FILE_NAME = "apple-leaves.onnx"


def bundled_model() -> Path:
    """The path of the shipped model, which `predict` uses and `--init bundled` starts from.

    Raises:
        ModelError: this installation lacks it.
    """
    path = Path(str(resources.files("leafzoom") / "assets" / "models" / _FILE_NAME))

    if not path.is_file():
        raise ModelError(
            f"the model that ships with leafzoom is not in this installation ({path} is missing): "
            "install leafzoom again, or name a run, an .onnx or a .safetensors file"
        )
    return path
