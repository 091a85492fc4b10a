"""The prefix of paths, HEAD, and whose forwarded headers are believed."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from leafzoom.serve.middleware import ForwardedHeadersMiddleware, RootPathMiddleware

FORWARDED = {
    "x-forwarded-proto": "https",
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-host": "leaves.example",
}


async def echo_request(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what the application sees of a request."""
    request = Request(scope)
    host = request.headers.get("x-forwarded-host", "none")
    text = f"{scope['scheme']} {scope['client'][0]} {host} {scope['path']} {scope['root_path']}"
    await PlainTextResponse(text)(scope, receive, send)


def answer(app: object, *, path: str = "/", client: str = "192.168.1.7") -> tuple[Message, str]:
    """The start and the text of the answer to a request with forwarded headers."""
    headers = [(name.encode(), text.encode()) for name, text in FORWARDED.items()]
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": b"a=1",
        "client": (client, 4711),
        "headers": headers,
    }
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(app(scope, receive, send))  # type: ignore[operator]
    return messages[0], messages[1]["body"].decode()


@pytest.mark.parametrize(
    ("trusted", "client"),
    [
        ("127.0.0.1,::1", "127.0.0.1"),
        ("127.0.0.1,::1", "::1"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("*", "192.168.1.7"),
    ],
)
def test_a_trusted_proxy_is_believed(trusted: str, client: str) -> None:
    _, text = answer(ForwardedHeadersMiddleware(echo_request, trusted), client=client)
    assert text.startswith("https 203.0.113.9 leaves.example")


@pytest.mark.parametrize(
    ("trusted", "client"),
    [
        ("127.0.0.1,::1", "192.168.1.7"),
        ("10.0.0.0/8", "127.0.0.1"),
        (None, "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_another_client_is_not(trusted: str | None, client: str) -> None:
    _, text = answer(ForwardedHeadersMiddleware(echo_request, trusted), client=client)
    assert text.startswith(f"http {client} none")


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/leafzoom/live", "/leafzoom/live"),
        ("/live", "/leafzoom/live"),
        ("/leafzoomer", "/leafzoom/leafzoomer"),
        ("//evil.example", "/leafzoom//evil.example"),
    ],
)
def test_a_path_starts_with_the_prefix(path: str, seen: str) -> None:
    _, text = answer(RootPathMiddleware(echo_request, "/leafzoom"), path=path)
    assert text.endswith(f" {seen} /leafzoom")


def test_the_prefix_leads_to_its_own_page_alone() -> None:
    start, _ = answer(RootPathMiddleware(echo_request, "/leafzoom"), path="/leafzoom")
    assert start["status"] == 307
    assert (b"location", b"/leafzoom/?a=1") in start["headers"]
