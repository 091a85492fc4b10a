"""The benchmarks run, and their crop's slow reference cuts what ours cuts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from leafzoom.model.attention_crop import attention_crop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def test_a_quick_run_measures_every_part(tmp_path: Path) -> None:
    out = tmp_path / "benchmarks.json"
    command = [sys.executable, ROOT / "benchmarks" / "run", "--quick", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text(encoding="utf-8"))
    from targets import TARGETS

    # A quick run has no network of the default backbone.
    wanted = [target.what for target in TARGETS if "default backbone" not in target.what]
    assert [target["what"] for target in found["targets"]] == wanted
    # So small a network's memory is lost in what the libraries take.
    assert all(target["value"] > 0 for target in found["targets"] if "memory" not in target["what"])


def test_a_part_is_measured_anew_and_the_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "benchmarks.json"
    command = [sys.executable, ROOT / "benchmarks" / "run", "--quick", "--only", "crop", "--out", out]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    before = json.loads(out.read_text(encoding="utf-8"))
    out.write_text(json.dumps({**before, "parts": {"steps": {"kept": 1}}}), encoding="utf-8")
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    parts = json.loads(out.read_text(encoding="utf-8"))["parts"]
    assert list(parts) == ["steps", "crop"]
    assert parts["steps"] == {"kept": 1}
    out.write_text(json.dumps({**before, "machine": {}}), encoding="utf-8")
    other = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "is of another machine" in other.stderr
    wrong = subprocess.run([*command[:3], "--only", "crops"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no part crops: there are steps, crop" in wrong.stderr


@pytest.mark.parametrize("boxcar", [False, True])
def test_the_slow_crop_is_the_same_crop(boxcar: bool) -> None:
    """Up to whole pixels and to how corners are aligned: so on a smooth picture, and with a box on pixels."""
    from slow_crop import slow_crop

    ramp = torch.linspace(0, 1, 64, dtype=torch.float32)
    pictures = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.ones(64, 64)])[None].contiguous()
    boxes = torch.tensor([[32.0, 30.0, 14.0]])
    found = {}
    gradient = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for name in ("slow", "ours"):
        proposals = torch.zeros(1, 3, requires_grad=True)
        if name == "slow":
            out = slow_crop(pictures, proposals, boxes, 64, boxcar=boxcar)
        else:
            mask = "boxcar" if boxcar else "none"
            out = attention_crop(pictures, proposals, boxes, 64, surrogate="paper", mask=mask)
        out.backward(gradient)
        found[name] = out.detach(), proposals.grad
    # One source pixel is 1/63 here; half a pixel of alignment, and at the border what the mask has shaded.
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(found["slow"][0][inside], found["ours"][0][inside], atol=0.012, rtol=0)
    torch.testing.assert_close(found["slow"][1], found["ours"][1], rtol=1e-4, atol=1e-2)
