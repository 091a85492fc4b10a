"""Run a command where every look-up of a name is written down: name_watch.py LOG COMMAND...

For a network and a mount namespace of the process's own (`unshare --map-root-user --net --mount`):
starts the loopback, puts a resolver on it, points /etc/resolv.conf to it and answers every question
with "no such name". LOG gets a name a line. Native code is watched like Python: both ask the C
library or read /etc/resolv.conf themselves.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

__all__ = ["question_name", "refusal"]

_SET_INTERFACE_FLAGS = 0x8914  # SIOCSIFFLAGS
_UP_AND_RUNNING = 0x41
_RESOLVER = ("127.0.0.1", 53)
_HEADER_SIZE = 12
_NO_SUCH_NAME = 0x8183


def main() -> None:
    """Watch one command; exits with its status."""
    log, *command = sys.argv[1:]
    start_loopback()
    use_own_resolver()

    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(_RESOLVER)
    threading.Thread(target=answer, args=(resolver, Path(log)), daemon=True).start()

    sys.exit(subprocess.run(command, check=False).returncode)


def start_loopback() -> None:
    """What `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        request = struct.pack("16sh14x", b"lo", _UP_AND_RUNNING)
        fcntl.ioctl(anything, _SET_INTERFACE_FLAGS, request)


def use_own_resolver() -> None:
    """Mount another /etc/resolv.conf over this namespace's."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
        file.write(f"nameserver {_RESOLVER[0]}\noptions timeout:1 attempts:1\n")
    target = Path("/etc/resolv.conf").resolve()
    subprocess.run(["mount", "--bind", file.name, target], check=True)


def answer(resolver: socket.socket, log: Path) -> None:
    """Write down and refuse each question."""
    while True:
        packet, sender = resolver.recvfrom(4096)
        with log.open("a") as file:
            file.write(question_name(packet) + "\n")
        resolver.sendto(refusal(packet), sender)


def question_name(packet: bytes) -> str:
    """The name that a DNS question asks for (RFC 1035, section 4.1.2)."""
    labels = []
    place = _HEADER_SIZE
    while packet[place]:
        size = packet[place]
        labels.append(packet[place + 1 : place + 1 + size].decode(errors="replace"))
        place += 1 + size
    return ".".join(labels)


def refusal(packet: bytes) -> bytes:
    """The answer "no such name" to a question."""
    end = packet.index(b"\0", _HEADER_SIZE) + 5  # the name's end, type and class
    counts = struct.pack(">4H", 1, 0, 0, 0)
    return packet[:2] + struct.pack(">H", _NO_SUCH_NAME) + counts + packet[_HEADER_SIZE:end]


if __name__ == "__main__":
    main()
