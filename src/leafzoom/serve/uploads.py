"""The uploaded form of a request: read within the limits, checked, its photos' names shortened."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from leafzoom.serve.limits import BodyLimit, Limits, TooLargeError

__all__ = ["discard_body", "photo_name", "read_form", "uploaded_photos"]

_FIELD = "photos"
_MAX_FIELDS = 4
_MAX_NAME_CHARACTERS = 200
_MAX_QUOTED_CHARACTERS = 40


async def discard_body(request: Request, limits: Limits) -> None:
    """Read a request's body without keeping it.

    Raises:
        TooLargeError: the body is beyond the limit.
    """
    limited_request = Request(request.scope, BodyLimit(request.receive, limits.body_bytes))
    async for _ in limited_request.stream():
        pass


async def read_form(request: Request, limits: Limits) -> FormData:
    """The uploaded form, its large photos on disk; the caller closes it.

    Raises:
        TooLargeError: the body, a photo or their number is beyond the limits.
        HTTPException: no form, a damaged one, or one without photos.
    """
    _check_headers(request, limits)

    # The parser ends at the limits of bytes and parts, and writes large files to the disk.
    limited_request = Request(request.scope, BodyLimit(request.receive, limits.body_bytes))
    form = await limited_request.form(max_files=limits.photos, max_fields=_MAX_FIELDS)
    try:
        _check_form(form, limits)
    except BaseException:
        await form.close()
        raise
    return form


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
