"""Connections without a request: ended, as phones that leave the network leave them open."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from leafzoom.serve import connections
from leafzoom.serve.connections import TimedProtocol

SECONDS = 0.5
HEAD = b"GET / HTTP/1.1\r\nHost: leaves.example\r\n"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_SECONDS", SECONDS)


async def slow_application(scope: object, receive: object, send: object) -> None:
    """Its answer takes longer than a head may."""
    await asyncio.sleep(2 * SECONDS)
    await PlainTextResponse("late")(scope, receive, send)  # type: ignore[arg-type]


async def exchange(*parts: bytes) -> tuple[bytes, float]:
    """What comes back for parts of requests, and the seconds until the connection is closed."""
    config = uvicorn.Config(
        slow_application, port=0, http=TimedProtocol, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)

    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.monotonic()
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.05)
    content = await asyncio.wait_for(reader.read(), 20)
    seconds = time.monotonic() - started

    writer.close()
    server.should_exit = True
    await running
    return content, seconds


@pytest.mark.parametrize("parts", [(), (HEAD,), (b"G", b"ET ")])
def test_a_connection_without_a_request_is_ended(parts: tuple[bytes, ...]) -> None:
    content, seconds = asyncio.run(exchange(*parts))
    assert content == b""
    assert seconds >= 0.9 * SECONDS


def test_a_request_is_answered_however_long_it_takes() -> None:
    """And the connection is ended when no other request comes to its end."""
    content, seconds = asyncio.run(exchange(HEAD + b"\r\n", HEAD))
    assert content.startswith(b"HTTP/1.1 200 OK")
    assert content.endswith(b"late")
    assert seconds >= 2.9 * SECONDS
