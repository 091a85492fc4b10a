"""What a file is that is no photo, by its first bytes: in words, with what to do.

A file that a download, a sync client or a camera left under the name of a photo is sound, so its
message says what it is, not that it is damaged.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HEIC_BRANDS", "READ_KINDS", "describe_file", "isobmff_brands"]

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of the files that pillow-heif reads; `mif1` and `msf1` are AVIF's too."""

_AVIF_BRANDS = (b"avif", b"avis")
_HEAD_BYTES = 4096
_CONVERT = "convert it to JPEG"
READ_KINDS = "JPEG, PNG, WebP, MPO or HEIC picture"


def _unread(kind: str) -> str:
    """The words for a picture of a format that is not read."""
    return f"is no {READ_KINDS} but {kind}: {_CONVERT}"


@dataclass(frozen=True)
class _Signature:
    """The first bytes of a kind of file, and the words for it."""

    start: bytes
    words: str


_SIGNATURES = (
    _Signature(
        b"version https://git-lfs.github.com/spec/",
        "is a Git LFS pointer, not the photo itself: fetch it with git lfs pull",
    ),
    _Signature(b"%PDF", "is a PDF document, not a photo: save its picture as JPEG"),
    _Signature(b"GIF8", _unread("a GIF picture")),
    _Signature(b"BM", _unread("a BMP picture")),
    _Signature(b"II*\0", _unread("a TIFF picture or a raw file")),
    _Signature(b"MM\0*", _unread("a TIFF picture or a raw file")),
    _Signature(b"IIRO", _unread("a camera's raw file")),
    _Signature(b"IIU\0", _unread("a camera's raw file")),
    _Signature(b"FUJIFILMCCD-RAW", _unread("a camera's raw file")),
    _Signature(b"8BPS", _unread("a Photoshop file")),
    _Signature(b"\xff\x0a", _unread("a JPEG XL picture")),
    _Signature(b"\0\0\0\x0cJXL ", _unread("a JPEG XL picture")),
    _Signature(b"\0\0\0\x0cjP  ", _unread("a JPEG 2000 picture")),
    _Signature(b"PK\x03\x04", "is a ZIP archive, not a photo: give it a name that ends in .zip"),
    _Signature(b"PK\x05\x06", "is an empty ZIP archive, not a photo"),
    _Signature(b"Rar!", "is a RAR archive, not a photo: unpack it"),
    _Signature(b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive, not a photo: unpack it"),
    _Signature(b"\x1f\x8b", "is a gzip archive, not a photo: unpack it"),
    _Signature(b"\x1aE\xdf\xa3", "is a film, not a photo: save one of its pictures as JPEG"),
    _Signature(b"SQLite format 3\0", "is a database, not a photo: check the path"),
)
_MARKUP = (
    (b"<!doctype html", b"<html", b"<head"),
    "is an HTML page, not a photo: a download gave a page (of a login or of an error); "
    "download the photo again",
)
_DRAWING = ((b"<svg", b"<?xml"), _unread("an SVG or XML file"))


def describe_file(content: bytes) -> str | None:
    """What a file is that is no photo, in words that go on after its name.

    Args:
        content: the file's.

    Returns:
        None for a photo that is read, and for what is not known.

    >>> describe_file(b"")
    'is empty (0 bytes): copy it again'
    >>> describe_file(b"%PDF-1.7").split(",")[0]
    'is a PDF document'
    """
    if not content:
        return "is empty (0 bytes): copy it again"

    head = content[:_HEAD_BYTES]
    for signature in _SIGNATURES:
        if head.startswith(signature.start):
            return signature.words

    return (
        _describe_isobmff(head)
        or _describe_markup(head)
        or _describe_zeros(content)
        or _describe_text(head)
    )


def isobmff_brands(content: bytes) -> tuple[bytes, ...]:
    """The brands of a file in MP4's container (HEIC, AVIF, films), the major one first.

    >>> isobmff_brands(b"\\0\\0\\0\\x14ftypheic\\0\\0\\0\\0mif1")
    (b'heic', b'mif1')
    """
    if content[4:8] != b"ftyp":
        return ()

    # The box's length, the major brand, a version, then the compatible brands.
    box = content[: min(int.from_bytes(content[:4], "big"), _HEAD_BYTES)]
    compatible = (box[start : start + 4] for start in range(16, len(box) - 3, 4))
    return (content[8:12], *compatible)


def _describe_isobmff(head: bytes) -> str | None:
    """AVIF or a film; None for HEIC and for any other file."""
    brands = isobmff_brands(head)
    if not brands:
        return None
    if any(brand in _AVIF_BRANDS for brand in brands):
        return _unread("an AVIF picture")
    if brands[0] == b"crx ":
        return _unread("a camera's raw file")
    if brands[0] in HEIC_BRANDS:
        return None
    return "is a film, not a photo: save one of its pictures as JPEG"


def _describe_markup(head: bytes) -> str | None:
    """An HTML page, SVG or XML."""
    # UTF-16 has a zero in every second byte.
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    for starts, words in (_MARKUP, _DRAWING):
        if text.startswith(starts):
            is_page = b"<html" in text or b"doctype html" in text
            return _MARKUP[1] if is_page else words
    return None


def _describe_zeros(content: bytes) -> str | None:
    """A file that was allotted and never filled: an interrupted copy, a failing disk."""
    if content.count(0) < len(content):
        return None
    return f"holds nothing but zeros ({len(content)} bytes): its copy did not finish, copy it again"


def _describe_text(head: bytes) -> str | None:
    """Notes, a table, an answer in JSON: what is printable from its start."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character that the head cuts
            return None
        text = head[: error.start].decode("utf-8-sig")

    if not all(character.isprintable() or character.isspace() for character in text):
        return None
    return "is text, not a photo: check the path"
