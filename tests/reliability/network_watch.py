"""Refuses and writes down every use of the network but the loopback, where NETWORK_CALLS names a file to write to.

A folder on PYTHONPATH whose `sitecustomize.py` imports this watches every Python process of a command.
"""

import os
import sys

_LOOPBACK = ("127.", "::1", "localhost")
_NAMED = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}
_ADDRESSED = {"socket.connect": 1, "socket.bind": 1, "socket.sendto": 1, "socket.sendmsg": 1}


def _watch(event: str, arguments: tuple) -> None:
    if event in _NAMED:
        host = arguments[_NAMED[event]]
    elif event in _ADDRESSED:
        address = arguments[_ADDRESSED[event]]
        if not isinstance(address, tuple):  # a socket of this machine's own, or none
            return
        host = address[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    if not host.startswith(_LOOPBACK):
        with open(os.environ["NETWORK_CALLS"], "a") as file:
            file.write(f"{event} {host}\n")
        raise OSError(f"{event} {host}: the network is not to be used")


if "NETWORK_CALLS" in os.environ:
    sys.addaudithook(_watch)
