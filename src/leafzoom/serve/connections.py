"""HTTP connections that are ended if no request comes on them."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_TIMEOUT_SECONDS", "TimedProtocol"]

HEAD_TIMEOUT_SECONDS = 30.0
"""How long a connection may take to send the head of its next request."""


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, which by itself waits for the head of a request for ever.

    Browsers open connections for requests that may come; a phone that leaves the network then
    leaves them open, and after 256 of them the service would answer nobody.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._restart_timer()

    def on_response_complete(self) -> None:
        """Wait for the next request; uvicorn ends the wait earlier if nothing at all comes."""
        super().on_response_complete()
        self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _restart_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._end_without_request)

    def _end_without_request(self) -> None:
        """End the connection, unless a request is being answered."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
