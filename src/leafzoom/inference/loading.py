"""Open the network that the word MODEL of the command line stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from leafzoom.errors import ModelError, needs_extra
from leafzoom.inference.devices import AUTO, torch_device
from leafzoom.inference.network import Network, OnnxNetwork
from leafzoom.model_file.paths import lone_file, model_path

if TYPE_CHECKING:
    from leafzoom.model.fusion import FusedNetwork

__all__ = ["open_network", "zooming_network"]


def open_network(
    model: str, *, prefer: str = "onnx", device: str = AUTO, threads: int | None = None
) -> Network:
    """The network of a run folder, a `.safetensors` checkpoint, an `.onnx` file, or `bundled`.

    Args:
        model: a path, `bundled`, or an address on the hub (see `model_file.hub`).
        prefer: `onnx` or `torch`: the exported model or the checkpoint of a run folder with both.
        device: where it computes, one of `devices.DEVICES`.
        threads: of an exported model within one call; by default as many as there are cores.

    Raises:
        DeviceError: the device is missing.
        ModelError: there is no such model, or it cannot be read.
        UsageError: an address on the hub without a revision or a digest.
        MissingExtraError: a checkpoint, without PyTorch; an address, without the hub's client.
    """
    path = model_path(model, prefer=prefer)
    if path.suffix == ".onnx":
        return OnnxNetwork(path, threads, device)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{path} is no run folder, .onnx or .safetensors file: name one of these, or bundled"
        )

    # Only checkpoints need PyTorch, so it is imported as late as this.
    with needs_extra("train", "reading a checkpoint"):
        from leafzoom.inference.torch_network import TorchNetwork
        from leafzoom.model_file.checkpoint import load_checkpoint

    return TorchNetwork(load_checkpoint(path), torch_device(device))


def zooming_network(model: str, network: Network) -> FusedNetwork | None:
    """The same network in PyTorch, which can be run on other boxes than it proposes.

    Args:
        model: the argument of `open_network`.
        network: its result.

    Returns:
        None if an exported model does not hold the network's own weights, and of a network that is
        no RA-CNN.
    """
    from leafzoom.inference.torch_network import TorchNetwork
    from leafzoom.model_file.checkpoint import load_checkpoint

    if network.manifest.framework != "ra-cnn":
        return None
    if isinstance(network, TorchNetwork):
        return network.network

    path = lone_file(model) or Path(model)
    try:
        return TorchNetwork(load_checkpoint(path)).network
    except ModelError:
        return None
