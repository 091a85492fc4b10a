"""One service for all tests of the service, and a photo for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.service_process import ServiceProcess


@pytest.fixture(scope="session")
def service(trained: Path) -> Iterator[ServiceProcess]:
    """A running service with the tiny model."""
    process = ServiceProcess(trained)
    yield process
    process.stop()


@pytest.fixture(scope="session")
def photo_bytes(leaves: Path) -> bytes:
    """The content of a photo."""
    return (leaves / "train_images" / "leaf-00001.jpg").read_bytes()


@pytest.fixture(scope="session")
def six_photos(leaves: Path) -> list[tuple[str, bytes]]:
    """Names and contents of as many photos as a request may have."""
    paths = sorted((leaves / "train_images").iterdir())[:6]
    return [(path.name, path.read_bytes()) for path in paths]
