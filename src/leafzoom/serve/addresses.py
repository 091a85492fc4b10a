"""The addresses that people open, as text and as a QR code for phones."""

from __future__ import annotations

import io
import ipaddress
import socket

from leafzoom.serve.access import is_loopback

__all__ = ["can_show_qr_code", "listening_lines", "qr_code"]

# Documentation addresses: nothing is sent to them.
_OUTSIDE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}

_BLOCKS = "▀▄█"

# White on black, whatever the terminal's own colours.
_QR_COLOURS = "\x1b[97;40m"
_END_COLOURS = "\x1b[0m"


def listening_lines(host: str, port: int, *, path: str = "", scannable: bool) -> list[str]:
    """What `leafzoom serve` prints when it listens.

    Args:
        host: the address that is listened on; all of the machine's for `0.0.0.0` and `::`.
        port: that is listened on.
        path: behind the address: the prefix and the query of the page, where there are any.
        scannable: whether a QR code may be shown, where other devices can reach the address.
    """
    everywhere = _is_everywhere(host)
    reachable_host = (_network_address(host) or _loopback(host)) if everywhere else host
    url = _url(reachable_host, port) + path
    lines = [f"leafzoom listens on {url} (stop it with Ctrl+C)"]

    if everywhere and reachable_host == _loopback(host):
        lines.append("No address in a network was found: other devices may not reach this one.")
    elif everywhere:
        lines.append(f"On this machine: {_url(_loopback(host), port)}{path}")

    code = qr_code(url) if scannable and not is_loopback(reachable_host) else None
    if code:
        lines.append(code)
    return lines


def can_show_qr_code(encoding: str | None) -> bool:
    """Whether a terminal's encoding has the blocks that a QR code is drawn with."""
    try:
        _BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def qr_code(text: str) -> str | None:
    """The QR code of a text, for a terminal; None without segno (`leafzoom[serve]`)."""
    try:
        import segno
    except ImportError:
        return None

    buffer = io.StringIO()
    segno.make_qr(text).terminal(buffer, compact=True)
    lines = buffer.getvalue().splitlines()
    return "\n".join(f"{_QR_COLOURS}{line}{_END_COLOURS}" for line in lines)


def _url(host: str, port: int) -> str:
    """The address of a host; an IPv6 address is written in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _network_address(host: str) -> str | None:
    """The machine's own address in its network; None where it is in none.

    Args:
        host: `0.0.0.0`, or `::` for IPv4 and IPv6.
    """
    families = [socket.AF_INET, socket.AF_INET6] if ":" in host else [socket.AF_INET]
    for family in families:
        # Connecting a datagram socket chooses the way out, and sends nothing.
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((_OUTSIDE[family], 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        if not is_loopback(address) and not _is_everywhere(address):
            return address
    return _address_by_name()


def _address_by_name() -> str | None:
    """An IPv4 address of the machine by its name; None where it has none but loopback's.

    A machine that is its own network, as a hotspot in the field, has no way out.
    """
    try:
        addresses = socket.gethostbyname_ex(socket.gethostname())[2]
    except (OSError, UnicodeError):
        return None

    for address in addresses:
        if not is_loopback(address):
            return address
    return None


def _loopback(host: str) -> str:
    return "::1" if ":" in host else "127.0.0.1"


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == ""
