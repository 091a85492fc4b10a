"""The file that the word MODEL of the command line stands for."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from leafzoom.errors import ModelError
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.hub import hub_file, is_hub_address
from leafzoom.photo_file import is_url

__all__ = [
    "MODEL_VARIABLE",
    "checkpoint_path",
    "default_model",
    "lone_file",
    "model_path",
    "run_folder",
    "similar_path",
]

MODEL_VARIABLE = "LEAFZOOM_MODEL"
"""The environment variable that names the model where nothing else does."""

_BUNDLED = "bundled"
_ONNX_NAME = "model.onnx"
_CHECKPOINT_NAME = "model.safetensors"
_SPLIT_NAME = "split.json"


def default_model() -> str:
    """What MODEL stands for where none is named: `$LEAFZOOM_MODEL`, or else `bundled`."""
    return os.environ.get(MODEL_VARIABLE, "").strip() or _BUNDLED


def lone_file(model: str) -> Path | None:
    """The file of a MODEL that is not named by its path: the bundled one, or one of the hub.

    Raises:
        ModelError, UsageError, MissingExtraError: as `hub_file`.
    """
    if model == _BUNDLED:
        return bundled_model()
    return hub_file(model) if is_hub_address(model) else None


def model_path(model: str, *, prefer: str = "onnx") -> Path:
    """The file that MODEL stands for (see `open_network`).

    Args:
        model: a path, `bundled`, or an address on the hub.
        prefer: `onnx` or `torch`: which file of a run folder that has both.

    Raises:
        ModelError: there is no such file or folder, or a folder without a model.
        UsageError, MissingExtraError: as `hub_file`.
    """
    path = lone_file(model) or _existing(model)
    if not path.is_dir():
        return path

    names = [_ONNX_NAME, _CHECKPOINT_NAME]
    if prefer != "onnx":
        names.reverse()

    for name in names:
        if (path / name).is_file():
            return path / name
    raise ModelError(
        f"{path} has neither {_ONNX_NAME} nor {_CHECKPOINT_NAME}: its training has not finished "
        "(leafzoom train --resume goes on with it)"
    )


def _existing(model: str) -> Path:
    """The path of a model that is not the bundled one.

    Raises:
        ModelError: it does not exist, or is no path.
    """
    if is_url(model):
        raise ModelError(f"{model} is an address, and models are read from files: download it")
    if not model.strip():
        raise ModelError(
            "the model's path is empty: name a run's folder, an .onnx or .safetensors file, or "
            f"{_BUNDLED}"
        )

    path = Path(model)
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise ModelError(f"the model {model!r} cannot be looked up ({error})") from error
    if not exists:
        raise ModelError(
            f"the model {model} does not exist: name a run's folder, an .onnx or .safetensors "
            f"file, or {_BUNDLED}{similar_path(path)}"
        )
    return path


def similar_path(path: Path) -> str:
    """What lies beside a path that does not exist under a similar name, to end a message with."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f" (there is {path.parent / close[0]})" if close else ""


def run_folder(model: str) -> Path | None:
    """The folder of the run that a MODEL belongs to; None for the shipped model or a lone file."""
    if model == _BUNDLED or is_hub_address(model):
        return None

    path = Path(model)
    folder = path if path.is_dir() else path.parent
    return folder if (folder / _SPLIT_NAME).is_file() else None


def checkpoint_path(model: str) -> Path:
    """The checkpoint of a run folder, or the checkpoint that MODEL names itself.

    Raises:
        ModelError: there is none.
        UsageError, MissingExtraError: as `hub_file`.
    """
    file = lone_file(model)
    if file is not None:
        return file

    path = _existing(model)
    if path.is_dir():
        path = path / _CHECKPOINT_NAME
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelError(
            f"{path} is no checkpoint: name a finished run's folder or its {_CHECKPOINT_NAME}"
        )
    return path
