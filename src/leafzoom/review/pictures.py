"""The pictures of the page: a photograph with its boxes, its zooms, its evidence, its twin."""

from __future__ import annotations

import io
import threading
from functools import lru_cache
from pathlib import Path

from PIL import Image

from leafzoom.drawing import BOX_COLOURS, crop_box, draw_box, resize_to_height
from leafzoom.inference.evidence import Evidence
from leafzoom.inference.loading import open_network
from leafzoom.inference.predictor import Predictor
from leafzoom.photo import read_photo
from leafzoom.review.items import Review

__all__ = ["ReviewPictures"]

_PHOTO_HEIGHT_PX = 720
_ZOOM_HEIGHT_PX = 360
_LINE_PX = 4
_JPEG_QUALITY = 85
_KEPT_PHOTOS = 6
_KEPT_PICTURES = 128
_KEPT_EVIDENCE = 32


class ReviewPictures:
    """Draws what the page asks for; items are named by their place in the review, from 0.

    The network is opened when evidence is first asked for. Any number of threads may use it.

    Args:
        review: with the items.
    """

    def __init__(self, review: Review) -> None:
        self._review = review
        self._predictor: Predictor | None = None
        self._predictor_lock = threading.Lock()

        # The last pictures are asked for again when people go back.
        self.view = lru_cache(_KEPT_PICTURES)(self._view)
        self.twin = lru_cache(_KEPT_PICTURES)(self._twin)
        self.evidence = lru_cache(_KEPT_PICTURES)(self._evidence)
        self._photo = lru_cache(_KEPT_PHOTOS)(self._read)
        self._maps = lru_cache(_KEPT_EVIDENCE)(self._find_maps)

    def _view(self, number: int, scale: int) -> bytes:
        """The photo with its boxes (scale 1), or a zoom (scale 2, 3, …), as a JPEG.

        Raises:
            PhotoError: the photo's file cannot be read any more.
            IndexError: there is no such item or scale.
        """
        item = self._review.items[number]
        image = self._photo(item.path)
        if scale == 1:
            whole = resize_to_height(image, _PHOTO_HEIGHT_PX)
            x_factor = whole.width / image.width
            y_factor = whole.height / image.height
            for box, colour in zip(item.boxes, BOX_COLOURS, strict=False):
                x0, y0, x1, y1 = box
                drawn = (x0 * x_factor, y0 * y_factor, x1 * x_factor, y1 * y_factor)
                draw_box(whole, drawn, colour, _LINE_PX)
            return _jpeg(whole)
        return _jpeg(crop_box(image, item.boxes[scale - 2], _ZOOM_HEIGHT_PX))

    def _evidence(self, number: int, scale: int, label: str) -> bytes:
        """What speaks for a label in the view of a scale, as a JPEG.

        Raises:
            PhotoError, IndexError: as `view`.
            KeyError: the model has no such label.
            ModelError: the model has no evidence.
        """
        item = self._review.items[number]
        image = self._photo(item.path)
        height = _PHOTO_HEIGHT_PX if scale == 1 else _ZOOM_HEIGHT_PX
        box = (0.0, 0.0, *map(float, image.size)) if scale == 1 else item.boxes[scale - 2]
        evidence = self._maps(item.path)
        return _jpeg(evidence.overlay(crop_box(image, box, height), label, scale))

    def _twin(self, number: int) -> bytes:
        """The near-duplicate of an item, as a JPEG.

        Raises:
            PhotoError, IndexError: as `view`; IndexError also where it has none.
        """
        item = self._review.items[number]
        if not item.twin_path:
            raise IndexError(number)
        return _jpeg(resize_to_height(self._photo(item.twin_path), _PHOTO_HEIGHT_PX))

    def _read(self, path: str) -> Image.Image:
        return read_photo(Path(path))

    def _find_maps(self, path: str) -> Evidence:
        """The evidence of a photo, by the model of the review."""
        with self._predictor_lock:
            if self._predictor is None:
                network = open_network(self._review.model)
                size = self._review.source_size
                self._predictor = Predictor(network, source_size=size)
            predictor = self._predictor
        evidence = predictor.predict(Path(path), maps=True).evidence
        assert evidence is not None
        return evidence


def _jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()
