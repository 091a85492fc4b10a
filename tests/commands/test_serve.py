"""`leafzoom serve`: what its options refuse, before a model is read."""

from __future__ import annotations

import pytest

from conftest import run_command


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--token", ""), "--token or LEAFZOOM_TOKEN is empty"),
        (("--token", "two words"), "without spaces"),
        (("--token", "Äpfel"), "of ASCII"),
        (("--allowed-host", "https://leaves.example"), "without http://"),
        (("--root-path", "https://leaves.example/a"), "--root-path has to be a path"),
        (("--root-path", "/äpfel"), "--root-path has to be a path"),
        (("--root-path", "/api/v1"), "choose another prefix"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: tuple[str, str], reason: str) -> None:
    result = run_command("serve", "--model", "missing.onnx", "--port", "0", *options)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_a_token_is_not_repeated_in_its_refusal() -> None:
    result = run_command("serve", "--model", "missing.onnx", "--token", "a secret")
    assert "a secret" not in result.output + result.stderr


def test_an_empty_variable_does_not_open_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container gets it whose variable was not set outside."""
    monkeypatch.setenv("LEAFZOOM_TOKEN", "")
    result = run_command("serve", "--model", "missing.onnx", "--port", "0")
    assert result.exit_code == 2
    assert "LEAFZOOM_TOKEN is empty" in result.stderr
