"""The diagnoses of the photos of one request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from starlette.datastructures import FormData, UploadFile

from leafzoom.errors import PhotoError
from leafzoom.exif import NO_EXIF
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.predictor import DecodedPhoto
from leafzoom.photo import Source, read_source
from leafzoom.serve.limits import TooSlowError
from leafzoom.serve.service import Service
from leafzoom.serve.uploads import photo_name, uploaded_photos

__all__ = ["diagnose_form"]

_JPEG_START = b"\xff\xd8"

_Task = asyncio.Task[Prediction | FailedPhoto]


async def diagnose_form(
    service: Service, form: FormData, coverage: float | None, *, maps: bool = False
) -> list[Prediction | FailedPhoto]:
    """The results for a form's photos, in order; the form is closed when all are done.

    A photo stays admitted until its work has ended, also after the request has: a thread that
    decodes cannot be stopped.

    Args:
        service: what is shared.
        form: with one or several photos.
        coverage: of the possible answers, one that the model has a calibration for.
        maps: whether predictions have evidence, of a model that has it.

    Raises:
        BusyError: the photos are not admitted.
        TooSlowError: the results took longer than the limit.
    """
    # All photos of the form are admitted, or none.
    files = uploaded_photos(form)
    try:
        await service.photos.acquire_many(len(files), service.limits.admission_timeout_s)
    except BaseException:
        await form.close()
        raise

    def release(task: _Task) -> None:
        service.photos.release()

        # Ask for the error of a task that its request may have left, or asyncio complains.
        if not task.cancelled():
            task.exception()

    # One task a photo, so that each is released as soon as it is done.
    tasks: list[_Task] = []
    for file in files:
        task = asyncio.ensure_future(_diagnose_file(service, file, coverage, maps))
        task.add_done_callback(release)
        tasks.append(task)
    service.run_in_background(_close_after(tasks, form))

    # Tasks that are too slow go on, because their threads cannot be stopped.
    _, unfinished = await asyncio.wait(tasks, timeout=service.limits.answer_timeout_s)
    if unfinished:
        raise TooSlowError("it took too long: try again")
    return [task.result() for task in tasks]


async def _diagnose_file(
    service: Service, file: UploadFile, coverage: float | None, maps: bool
) -> Prediction | FailedPhoto:
    """Read and decode one photo in a thread, then predict it in a batch."""
    name = photo_name(file)
    sizes = service.predictor.source_sizes
    limits = service.limits

    def decode() -> Source:
        file.file.seek(0)
        content = file.file.read()
        is_reduced = content.startswith(_JPEG_START)
        with nullcontext() if is_reduced else service.full_size_decoding:
            source = read_source(
                content,
                sizes,
                jpeg_pixels=limits.jpeg_pixels,
                other_pixels=limits.other_pixels,
            )

        # Answers say nothing about where and when a photo was taken.
        return replace(source, exif=NO_EXIF)

    # Decoding in the event loop would hold up all other requests.
    try:
        source = await asyncio.get_running_loop().run_in_executor(service.decoders, decode)
    except PhotoError as error:
        return FailedPhoto(name, str(error))

    photo = DecodedPhoto(name, source, coverage=coverage, maps=maps)
    return await asyncio.wrap_future(service.batcher.submit(photo))


async def _close_after(tasks: Sequence[_Task], form: FormData) -> None:
    """Close a form, with its files, when no task reads it any more."""
    await asyncio.wait(tasks)
    await form.close()
