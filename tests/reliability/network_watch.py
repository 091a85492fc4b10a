"""Refuse and log every use of the network but the loopback, if NETWORK_CALLS names a log file.

A folder on PYTHONPATH whose `sitecustomize.py` imports this watches every Python process of a
command.
"""

import os
import sys

_LOOPBACK = ("127.", "::1", "localhost")

# Audit events, and the position of the host or of the address among their arguments.
_HOST_EVENTS = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}
_ADDRESS_EVENTS = {"socket.connect": 1, "socket.bind": 1, "socket.sendto": 1, "socket.sendmsg": 1}


def _watch(event: str, arguments: tuple) -> None:
    """An audit hook that raises an OSError at an event of the network."""
    if event in _HOST_EVENTS:
        host = arguments[_HOST_EVENTS[event]]
    elif event in _ADDRESS_EVENTS:
        address = arguments[_ADDRESS_EVENTS[event]]
        if not isinstance(address, tuple):  # a socket of this machine's own, or none
            return
        host = address[0]
    else:
        return

    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    if name.startswith(_LOOPBACK):
        return

    with open(os.environ["NETWORK_CALLS"], "a") as file:
        file.write(f"{event} {name}\n")
    raise OSError(f"{event} {name}: the network may not be used")


if "NETWORK_CALLS" in os.environ:
    sys.addaudithook(_watch)
