"""The addresses that are printed, and their QR code."""

from __future__ import annotations

import re
import socket
import sys

import cv2
import numpy as np
import pytest

from leafzoom.serve import addresses
from leafzoom.serve.addresses import can_show_qr_code, listening_lines, qr_code

URL = "http://192.168.1.7:8000/?token=in-the-orchard"


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an address in a network."""
    monkeypatch.setattr(addresses, "_network_address", lambda host: "192.168.1.7")


def test_loopback_is_printed_as_it_is() -> None:
    for host, url in (("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80")):
        lines = listening_lines(host, 80, scannable=True)
        assert lines == [f"leafzoom listens on {url} (stop it with Ctrl+C)"]


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("host", "own"), [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000")]
)
def test_everywhere_is_an_address_that_a_phone_can_open(host: str, own: str) -> None:
    lines = listening_lines(host, 8000, scannable=False)
    assert lines == [
        "leafzoom listens on http://192.168.1.7:8000 (stop it with Ctrl+C)",
        f"On this machine: {own}",
    ]


def test_a_machine_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_network_address", lambda host: None)
    first, second = listening_lines("0.0.0.0", 8000, scannable=True)
    assert "http://127.0.0.1:8000" in first
    assert "other devices may not reach this one" in second


def test_a_machine_without_a_way_out_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a laptop whose hotspot is the network."""

    def no_way(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    names = ("laptop", [], ["127.0.1.1", "192.168.137.1"])
    monkeypatch.setattr(addresses.socket, "socket", no_way)
    monkeypatch.setattr(addresses.socket, "gethostbyname_ex", lambda name: names)
    assert addresses._network_address("0.0.0.0") == "192.168.137.1"

    monkeypatch.setattr(addresses.socket, "gethostbyname_ex", no_way)
    assert addresses._network_address("0.0.0.0") is None


def test_the_network_address_is_one_of_this_machine() -> None:
    address = addresses._network_address("0.0.0.0")
    if address is None:
        pytest.skip("this machine is in no network")
    with socket.socket() as listener:
        listener.bind((address, 0))


@pytest.mark.usefixtures("network")
def test_the_qr_code_is_read_as_the_address() -> None:
    """By OpenCV, from the picture that the terminal shows."""
    path = "/?token=in-the-orchard"
    code = listening_lines("0.0.0.0", 8000, path=path, scannable=True)[-1]
    text = re.sub(r"\x1b\[[\d;]*m", "", code)

    rows = []
    for line in text.splitlines():
        rows.append([character in "█▀" for character in line])
        rows.append([character in "█▄" for character in line])
    picture = np.kron(np.array(rows, np.uint8) * 255, np.ones((8, 8), np.uint8))
    content, _, _ = cv2.QRCodeDetector().detectAndDecode(picture)
    assert content == URL


def test_without_segno_there_is_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    assert qr_code(URL) is None


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", True), ("cp437", True), ("cp1252", False), ("ascii", False), (None, False)],
)
def test_a_terminal_without_blocks_shows_no_code(encoding: str | None, shown: bool) -> None:
    assert can_show_qr_code(encoding) == shown
