"""Which file the word MODEL of the command line stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from leafzoom.bundled import bundled_model
from leafzoom.errors import ModelError, needs_extra
from leafzoom.inference.network import Network, OnnxNetwork

if TYPE_CHECKING:
    from leafzoom.model.fusion import FusedRACNN

__all__ = ["checkpoint_path", "model_path", "open_network", "run_folder", "zooming_network"]


def open_network(model: str, *, prefer: str = "onnx") -> Network:
    """The network of a run folder, a `.safetensors` checkpoint, an `.onnx` file, or `bundled`.

    Args:
        model: a path or `bundled`.
        prefer: of a run folder that has both, its `onnx` model or its `torch` checkpoint.

    Raises:
        ModelError: there is no such model, or it cannot be read.
        MissingExtraError: a checkpoint, without PyTorch.
    """
    path = model_path(model, prefer=prefer)
    if path.suffix == ".onnx":
        return OnnxNetwork(path)
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} is no run folder, .onnx or .safetensors file: name one of these, or bundled")
    with needs_extra("train", "reading a checkpoint"):
        from leafzoom.inference.torch_network import TorchNetwork
        from leafzoom.model.checkpoint import load_checkpoint

    return TorchNetwork(load_checkpoint(path))


def model_path(model: str, *, prefer: str = "onnx") -> Path:
    """The file that MODEL stands for (see `open_network`).

    Raises:
        ModelError: a folder without a model.
    """
    path = bundled_model() if model == "bundled" else Path(model)
    if path.is_dir():
        files = [path / "model.onnx", path / "model.safetensors"]
        found = [file for file in (files if prefer == "onnx" else files[::-1]) if file.is_file()]
        if not found:
            raise ModelError(
                f"{path} has neither model.onnx nor model.safetensors: its training has not finished "
                "(leafzoom train --resume goes on with it)"
            )
        path = found[0]
    return path


def zooming_network(model: str, network: Network) -> FusedRACNN | None:
    """The same network in PyTorch, to be given other boxes; None if an exported model does not hold its weights.

    Args:
        model: as `open_network` was given.
        network: what it gave.
    """
    from leafzoom.inference.torch_network import TorchNetwork
    from leafzoom.model.checkpoint import load_checkpoint

    if isinstance(network, TorchNetwork):
        return network.network
    try:
        return TorchNetwork(load_checkpoint(bundled_model() if model == "bundled" else Path(model))).network
    except ModelError:
        return None


def run_folder(model: str) -> Path | None:
    """The run that a MODEL belongs to, if it lies in a run's folder."""
    if model == "bundled":
        return None
    path = Path(model)
    folder = path if path.is_dir() else path.parent
    return folder if (folder / "split.json").is_file() else None


def checkpoint_path(model: str) -> Path:
    """The checkpoint of a run folder, or the file that is named itself.

    Raises:
        ModelError: there is none.
    """
    if model == "bundled":
        return bundled_model()
    path = Path(model) / "model.safetensors" if Path(model).is_dir() else Path(model)
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelError(f"{path} is no checkpoint: name a finished run's folder or its model.safetensors")
    return path
