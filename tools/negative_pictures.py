"""Turn pictures of packages into photographs beside which a leaf is told: sizes, backgrounds."""

from __future__ import annotations

import hashlib
import io
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = [
    "Picture",
    "difference_hash",
    "is_worth_keeping",
    "on_backgrounds",
    "read_picture",
    "save",
]

MAX_SIDE = 512
MIN_SIDE = 128

_HASH_SIDE = 16
_FLAT = 4.0  # standard deviation of grey values
_LEAST_TRANSPARENT = 0.04
_JPEG_QUALITY = 92

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Picture:
    """A picture of a package.

    Attributes:
        image: RGB, or RGBA if it is a cut-out; the longer side is at most 512 px.
        is_cut_out: part of it is transparent, so that it needs a background.
    """

    image: Image.Image
    is_cut_out: bool


def read_picture(content: bytes) -> Picture | None:
    """Decode upright and reduce; None if it can't be decoded or is smaller than 128 px.

    A cut-out counts by its visible part's longer side, since it gets a background around it.
    """
    try:
        file = Image.open(io.BytesIO(content))
        file.draft("RGB", (2 * MAX_SIDE, 2 * MAX_SIDE))
        image: Image.Image = ImageOps.exif_transpose(file)
        has_alpha = image.has_transparency_data
        image = image.convert("RGBA" if has_alpha else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return None
    except (Image.DecompressionBombError, NotImplementedError):
        return None

    is_cut_out = has_alpha and _transparent_share(image) >= _LEAST_TRANSPARENT
    if is_cut_out:
        visible = image.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
        if visible is None or max(visible[2] - visible[0], visible[3] - visible[1]) < MIN_SIDE:
            return None
        image = image.crop(visible)
    else:
        image = image.convert("RGB")
        if min(image.size) < MIN_SIDE:
            return None

    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return Picture(image, is_cut_out)


def _transparent_share(image: Image.Image) -> float:
    alpha = np.asarray(image.getchannel("A"))
    return float((alpha < 128).mean())


def is_worth_keeping(picture: Picture) -> bool:
    """Whether there is anything to see: not one colour, not a strip."""
    width, height = picture.image.size
    if not picture.is_cut_out and max(width, height) > 4 * min(width, height):
        return False

    grey = np.asarray(picture.image.convert("RGBA").convert("L"))
    return bool(grey.std() > _FLAT) or picture.is_cut_out


def difference_hash(picture: Picture) -> int:
    """256 bits that stay equal when a picture is stored again in another size or format."""
    grey = picture.image.convert("L").resize((_HASH_SIDE + 1, _HASH_SIDE))
    values = np.asarray(grey, dtype=np.int16)
    bits = values[:, 1:] > values[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def on_backgrounds(
    picture: Picture, photograph: Image.Image | None, name: str
) -> dict[str, Image.Image]:
    """A cut-out on a grey table, on white and on a photograph, by background.

    The object takes 60 to 90 % of the side; place, shade and size come from the name, so that the
    same name gives the same pictures. Without a photograph there are two pictures.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    generator = random.Random(seed)

    longer = max(picture.image.size)
    side = min(MAX_SIDE, round(longer / generator.uniform(0.6, 0.9)))
    width, height = generator.choice([(side, side), (side, side * 3 // 4), (side * 3 // 4, side)])

    grounds = {"grey": _table(width, height, generator), "white": _plain(width, height)}
    if photograph is not None:
        grounds["photo"] = ImageOps.fit(photograph.convert("RGB"), (width, height))

    return {kind: _placed(picture.image, ground, generator) for kind, ground in grounds.items()}


def _table(width: int, height: int, generator: random.Random) -> Image.Image:
    """A grey surface with uneven light and grain."""
    shade = generator.uniform(95, 190)
    slope = generator.uniform(-35, 35)

    light = shade + slope * np.linspace(-0.5, 0.5, height)[:, None]
    grain = np.random.default_rng(generator.getrandbits(32)).normal(0, 3, (height, width))
    values: npt.NDArray[np.uint8] = np.clip(light + grain, 0, 255).astype(np.uint8)

    return Image.fromarray(values).convert("RGB")


def _plain(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), "white")


def _placed(cut_out: Image.Image, ground: Image.Image, generator: random.Random) -> Image.Image:
    width, height = ground.size
    scaled = cut_out.copy()
    scaled.thumbnail((round(0.95 * width), round(0.95 * height)), Image.Resampling.LANCZOS)

    place = (
        generator.randint(0, width - scaled.width),
        generator.randint(0, height - scaled.height),
    )
    composed = ground.copy()
    composed.paste(scaled, place, scaled.getchannel("A"))
    return composed


def save(image: Image.Image, path: str) -> None:
    """Write an RGB JPEG."""
    image.convert("RGB").save(path, "JPEG", quality=_JPEG_QUALITY)
