"""Where a model is computed: the words of `--device`, and what of this machine they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leafzoom.errors import DeviceError, ModelError

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "AUTO",
    "CPU",
    "CUDA",
    "DEVICES",
    "available_devices",
    "idle_gpu_note",
    "open_session",
    "session_device",
    "torch_device",
]

AUTO = "auto"
"""A GPU where ONNX Runtime or PyTorch can use one, else the CPU."""

CPU = "cpu"
CUDA = "cuda"
_PROVIDERS = {
    CPU: "CPUExecutionProvider",
    CUDA: "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
DEVICES = (AUTO, *_PROVIDERS)
"""The words of `--device`."""

_REMEDIES = {
    CUDA: "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "coreml": "it is in the ordinary onnxruntime of a Mac, and nowhere else",
    "openvino": "pip uninstall onnxruntime, then pip install onnxruntime-openvino",
}
_LOG_FATAL_ONLY = 4
_MAX_REASON = 200  # characters of ONNX Runtime's message in one of ours


def available_devices() -> tuple[str, ...]:
    """The devices that the installed ONNX Runtime is built for, `cpu` first."""
    import onnxruntime

    built_for = onnxruntime.get_available_providers()
    return tuple(device for device, provider in _PROVIDERS.items() if provider in built_for)


def open_session(
    content: bytes, path: Path, *, device: str = AUTO, threads: int = 0
) -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime that computes a model on a device.

    Single operations that the device does not have are computed by the CPU.

    Args:
        content: the model.
        path: its file, for messages.
        device: one of `DEVICES`.
        threads: of ONNX Runtime within one call, on the CPU; 0: its default.

    Raises:
        DeviceError: the device is unknown, is missing, or does not start.
        ModelError: the model cannot be read.
    """
    import onnxruntime

    # Errors are raised below with their reason, so ONNX Runtime need not log them too.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _LOG_FATAL_ONLY
    providers = _providers(device)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common base
        reason = str(error).splitlines()[0][:_MAX_REASON]
        if len(providers) > 1:
            raise DeviceError(
                f"{path} cannot be computed on --device {device} ({reason}): try --device cpu"
            ) from error
        raise ModelError(
            f"{path} is no ONNX model that can be read ({reason}): export it again"
        ) from error

    # ONNX Runtime goes back to the CPU in silence where a driver or a library is missing.
    if device != AUTO and providers[0] not in session.get_providers():
        raise DeviceError(
            f"--device {device} does not start, though ONNX Runtime is built for it: install what "
            f"{providers[0]} needs (its drivers and libraries), or use --device cpu"
        )
    return session


def session_device(session: onnxruntime.InferenceSession) -> str:
    """The device that computes a session, a word of `DEVICES`."""
    used = session.get_providers()
    return next(device for device in reversed(_PROVIDERS) if _PROVIDERS[device] in used)


def idle_gpu_note(device: str, computes_on: str) -> str | None:
    """A line for people where `auto` went back to the CPU because a GPU does not start.

    Args:
        device: what was asked for, one of `DEVICES`.
        computes_on: the device of the network.
    """
    if device != AUTO or computes_on != CPU or CUDA not in available_devices():
        return None
    return (
        "ONNX Runtime is built for CUDA, which does not start here: the model is computed on the "
        "CPU (--device cuda says why, --device cpu leaves this line out)"
    )


def torch_device(device: str) -> str:
    """The device of PyTorch that a word of `--device` stands for.

    Raises:
        DeviceError: PyTorch has no such device, or it is missing.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    if device == AUTO:
        return CUDA if has_gpu else CPU
    if device not in {CPU, CUDA}:
        raise DeviceError(
            f"--device {device} is for exported models, and this is a checkpoint: "
            "leafzoom export it first, or use --device cpu"
        )
    if device == CUDA and not has_gpu:
        raise DeviceError(
            "--device cuda: PyTorch finds no GPU; install its driver and a PyTorch for it, or use "
            "--device cpu"
        )
    return device


def _providers(device: str) -> Sequence[str]:
    """ONNX Runtime's names of a device, and of the CPU for what the device lacks."""
    available = available_devices()
    if device not in DEVICES:
        raise DeviceError(f"there is no device {device!r}: name one of {', '.join(DEVICES)}")
    if device == AUTO:
        device = CUDA if CUDA in available else CPU
    if device not in available:
        raise DeviceError(
            f"--device {device} needs ONNX Runtime's {_PROVIDERS[device]}, and the ONNX Runtime "
            f"installed here has {', '.join(available)}: {_REMEDIES[device]}; or use --device cpu"
        )
    return [_PROVIDERS[name] for name in dict.fromkeys([device, CPU])]
