"""`--device`: a missing device is an error with its remedy, and never the CPU in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import leafzoom
from conftest import failure_line, run_command
from leafzoom.errors import DeviceError
from leafzoom.inference.devices import DEVICES, available_devices, torch_device
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import OnnxNetwork

_MISSING = [name for name in ("cuda", "coreml", "openvino") if name not in available_devices()]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture in a file."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 40)).save(path)
    return path


def test_the_cpu_is_always_there() -> None:
    assert available_devices()[0] == "cpu"
    assert set(available_devices()) < set(DEVICES)


def test_auto_and_cpu_give_the_same_answers_here(trained: Path) -> None:
    path = trained / "model.onnx"
    automatic = OnnxNetwork(path)
    if automatic.device_name != "cpu":
        pytest.skip("this machine has a GPU, whose sums are rounded otherwise")

    side = automatic.manifest.source_size
    sources = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    expected = OnnxNetwork(path, device="cpu")(sources).probabilities
    for head, probabilities in automatic(sources).probabilities.items():
        np.testing.assert_array_equal(probabilities, expected[head])


@pytest.mark.parametrize("device", _MISSING)
def test_a_missing_device_is_refused_with_its_remedy(
    trained: Path, device: str, photo: Path
) -> None:
    line = failure_line(run_command("predict", photo, "--model", trained, "--device", device), 1)

    assert f"--device {device} needs ONNX Runtime's" in line
    assert "installed here has cpu" in line
    assert "or use --device cpu" in line


def test_an_unknown_device_is_refused(photo: Path) -> None:
    with pytest.raises(DeviceError, match="no device 'tpu': name one of auto, cpu"):
        leafzoom.load(device="tpu")
    assert "tpu" in failure_line(run_command("predict", photo, "--device", "tpu"), 2)


@pytest.mark.skipif("cuda" not in _MISSING, reason="this ONNX Runtime is built for CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_device_that_does_not_start_is_refused(
    trained: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where ONNX Runtime is built for CUDA, and a library of CUDA is missing."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)

    with pytest.raises(DeviceError, match="--device cuda does not start"):
        OnnxNetwork(trained / "model.onnx", device="cuda")

    # Without a name it is the CPU, and a line says so.
    assert OnnxNetwork(trained / "model.onnx").device_name == "cpu"
    result = run_command("predict", photo, "--model", trained)
    assert result.exit_code == 0
    assert "CUDA, which does not start here" in result.stderr
    assert "CUDA" not in run_command("predict", photo, "--model", trained, "--device", "cpu").stderr


def test_a_checkpoint_is_computed_by_what_pytorch_has(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = str(trained / "model.safetensors")
    with pytest.raises(DeviceError, match="leafzoom export it first"):
        open_network(checkpoint, device="openvino")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert open_network(checkpoint).device_name == "cpu"
    with pytest.raises(DeviceError, match="PyTorch finds no GPU"):
        open_network(checkpoint, device="cuda")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device("auto") == torch_device("cuda") == "cuda"
    assert torch_device("cpu") == "cpu"


def test_info_lists_the_devices(trained: Path) -> None:
    lines = run_command("info", trained).stdout.splitlines()

    assert lines[-1] == (
        f"devices of this machine's ONNX Runtime: {', '.join(available_devices())}"
    )
