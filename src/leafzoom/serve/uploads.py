"""The uploaded form of a request: read within the limits, checked, its photos' names shortened."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import PurePosixPath, PureWindowsPath

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from leafzoom.serve.limits import BodyLimit, BodyTimeout, Limits, NoSpaceError, TooLargeError
from leafzoom.serve.temporary_folder import upload_advice

__all__ = ["discard_body", "limited_body", "photo_name", "read_form", "uploaded_photos"]

_FIELD = "photos"
_MAX_FIELDS = 4
_MAX_NAME_CHARACTERS = 200
_MAX_QUOTED_CHARACTERS = 40


async def discard_body(request: Request, limits: Limits) -> None:
    """Read a request's body without keeping it.

    Raises:
        TooLargeError: the body is beyond the limit.
        TimeoutError: it stalls.
    """
    async for _ in limited_body(request, limits, limits.body_bytes).stream():
        pass


async def read_form(request: Request, limits: Limits) -> FormData:
    """The uploaded form, its large photos on disk; the caller closes it.

    Raises:
        TooLargeError: the body, a photo or their number is beyond the limits.
        TimeoutError: the body stalls.
        NoSpaceError: the temporary folder cannot take the photos.
        HTTPException: no form, a damaged one, or one without photos.
    """
    _check_headers(request, limits)

    stream = limited_body(request, limits, limits.body_bytes).stream()
    try:
        form = await _parsed_form(request.headers, stream, limits)
    except TimeoutError:
        raise
    except OSError as error:
        # A client hears the answer only after it has sent its body.
        async for _ in stream:
            pass
        raise NoSpaceError(upload_advice(error)) from error

    try:
        _check_form(form, limits)
    except BaseException:
        await form.close()
        raise
    return form


def limited_body(request: Request, limits: Limits, max_bytes: int) -> Request:
    """The request with a body that ends at the limits of time and at a number of bytes."""
    timed = BodyTimeout(
        request.receive,
        stall_s=limits.upload_stall_s,
        bytes_per_s=limits.upload_bytes_per_s,
    )
    return Request(request.scope, BodyLimit(timed, max_bytes))


def uploaded_photos(form: FormData) -> list[UploadFile]:
    """The files of a form, in order."""
    return [value for _, value in form.multi_items() if isinstance(value, UploadFile)]


def photo_name(file: UploadFile) -> str:
    """The last part of an uploaded file's path, without control characters, 200 at most."""
    path = PurePosixPath(file.filename or "photo")

    # Some browsers on Windows send the whole path.
    last_part = PureWindowsPath(path.name).name
    printable = "".join(c if c.isprintable() else "�" for c in last_part)
    return printable[:_MAX_NAME_CHARACTERS] or "photo"


class _PhotoFormParser(MultiPartParser):
    """Takes each part of the field `photos` for a file, with or without a name.

    A name in `filename*` (RFC 5987) is read too: RFC 7578 forbids it in forms, and some programs
    send it.
    """

    def on_headers_finished(self) -> None:
        """The start of a part's content."""
        part = self._current_part
        header = part.content_disposition or b""
        _, options = parse_options_header(header)

        # Without a name it would be a field, kept in memory.
        if b"filename" not in options and options.get(b"name") == _FIELD.encode():
            part.content_disposition = header + b'; filename=""'

        super().on_headers_finished()
        if part.file is not None and b"filename*" in header.lower():
            part.file.filename = _extended_name(header) or part.file.filename


def _extended_name(header: bytes) -> str | None:
    """The name in a header's `filename*`, decoded; None where there is none."""
    message = Message()
    message["Content-Disposition"] = header.decode("latin-1")
    parameters = message.get_params(header="Content-Disposition", unquote=True) or []
    for name, value in parameters:
        # Decoded ones are of three parts: the character set, the language and the name.
        if name.lower() == "filename" and isinstance(value, tuple):
            return collapse_rfc2231_value(value)
    return None


async def _parsed_form(
    headers: Headers, stream: AsyncGenerator[bytes, None], limits: Limits
) -> FormData:
    """The form; the parser writes large files to the disk.

    Args:
        headers: of the request.
        stream: its body, in parts.
        limits: of the service.

    Raises:
        TooLargeError: the body or the number of photos is beyond the limits.
        HTTPException: a damaged form.
        OSError: the temporary folder cannot take the photos.
    """
    parser = _PhotoFormParser(
        headers,
        stream,
        max_files=limits.photos,
        max_fields=_MAX_FIELDS,
    )
    try:
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise TooLargeError(error.message) from error
        raise HTTPException(400, error.message) from error


def _check_headers(request: Request, limits: Limits) -> None:
    """Refuse a request by its headers, before its body is read."""
    # A body without this header is cut off by `BodyLimit` while it is read.
    content_length = request.headers.get("content-length", "")
    if content_length.isdigit() and int(content_length) > limits.body_bytes:
        raise TooLargeError("the request is too large")

    content_type = request.headers.get("content-type", "").lower()
    if not content_type.startswith("multipart/form-data"):
        raise HTTPException(415, f"send photos as multipart/form-data, field `{_FIELD}`")


def _check_form(form: FormData, limits: Limits) -> None:
    for field, value in form.multi_items():
        if field != _FIELD or not isinstance(value, UploadFile):
            quoted = repr(field[:_MAX_QUOTED_CHARACTERS])
            raise HTTPException(422, f"the form's field is `{_FIELD}`, a file, not {quoted}")
        if (value.size or 0) > limits.photo_bytes:
            raise TooLargeError("a photo is too large")

    if not form.multi_items():
        raise HTTPException(422, f"the form has no file in its field `{_FIELD}`")
