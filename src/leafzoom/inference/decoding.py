"""Photos as the network reads them, decoded in threads ahead of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from leafzoom.errors import PhotoError
from leafzoom.inference.photo_like import PhotoLike, name_of, plain_photo
from leafzoom.inference.prediction import FailedPhoto
from leafzoom.photo import Photo, Source, read_source
from leafzoom.source_size import SourceSize

__all__ = ["DecodedPhoto", "batches", "decode_ahead", "require_decoded"]


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo that the network can read.

    Attributes:
        name: of the photo in results.
        source: its pixels as the network reads them.
        original: what `Prediction.plot` draws; without it the prediction cannot be drawn.
        coverage: of `Prediction.possible`; without it the prediction has none.
        maps: whether the prediction has evidence.
    """

    name: str
    source: Source
    original: Photo | None = None
    coverage: float | None = None
    maps: bool = False


def decode_ahead(
    photos: Iterable[PhotoLike], sizes: SourceSize, workers: int, batch_size: int
) -> Generator[DecodedPhoto | FailedPhoto, None, None]:
    """Decode photos in threads, in their order, at most a batch and a little more ahead.

    Args:
        photos: may be a generator.
        sizes: of the sources that are cut from them.
        workers: threads.
        batch_size: photos in one pass of the network.
    """
    max_pending = batch_size + 2 * workers
    pending: deque[Future[DecodedPhoto | FailedPhoto]] = deque()

    with ThreadPoolExecutor(workers, thread_name_prefix="leafzoom-decode") as pool:
        # Fill the queue; once it is full, one photo leaves for each that enters.
        for number, photo in enumerate(photos, start=1):
            name = name_of(photo, number)
            pending.append(pool.submit(_decode, name, photo, sizes))
            if len(pending) >= max_pending:
                yield pending.popleft().result()

        # No more photos come in; hand out the rest.
        while pending:
            yield pending.popleft().result()


def _decode(name: str, photo: PhotoLike, sizes: SourceSize) -> DecodedPhoto | FailedPhoto:
    try:
        plain = plain_photo(photo)
        source = read_source(plain, sizes)
    except PhotoError as error:
        return FailedPhoto(name, str(error))
    return DecodedPhoto(name, source, plain)


def batches(
    photos: Iterable[DecodedPhoto | FailedPhoto], size: int
) -> Iterator[list[DecodedPhoto | FailedPhoto]]:
    """The photos in lists of this many; the last one may be smaller."""
    batch: list[DecodedPhoto | FailedPhoto] = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def require_decoded(photo: DecodedPhoto | FailedPhoto) -> DecodedPhoto:
    """A photo that could be decoded.

    Raises:
        PhotoError: it could not.
    """
    if isinstance(photo, FailedPhoto):
        raise PhotoError(photo.error)
    return photo
