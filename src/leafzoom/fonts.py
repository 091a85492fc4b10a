"""Text of any script in pictures: a stack of the fonts that are installed.

The rule: a text is drawn in Pillow's own font; what that lacks, in the first installed font that
has it (those of `_PREFERRED` first, then the others by name); and a character that no font has, by
its number, as `\\u82f9`, so that different labels stay different.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

__all__ = ["TextRun", "draw_text", "font_files", "missing_characters", "text_runs"]

# Fonts without serifs that cover many scripts, by the start of their files' names.
_PREFERRED = (
    *("notosans-regular", "dejavusans.", "segoeui.", "arialuni", "arial unicode", "arial."),
    *("notosanscjk", "notosanssc", "sourcehansans", "pingfang", "msyh", "wqy-microhei"),
    *("notosans", "nirmala", "lohit", "kohinoor", "droidsansfallback", "tahoma", "geezapro"),
)
_PLACEHOLDERS = ("lastresort", "adobeblank")  # they have a sign for every character
_VARIANTS = ("bold", "italic", "oblique", "light", "thin", "-vf", "variable", "[wght")
_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
_MAX_FONTS = 500  # that are opened in the search for a character
_MAX_FOLDER_FILES = 20_000
_MIN_PX = 10
_WEIGHT_AXIS = (b"Weight", b"wght")
_REGULAR_WEIGHT = 400
_NO_CHARACTER = "\U0010ffff"
_PROBE_PX = 16

# A probability, a bracket or a plus after Arabic or Hebrew stands to its right, as after any label.
_RIGHT_TO_LEFT_END = re.compile(r"(?<=[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc])(?=\s+[\d(+])")

# Such an end is drawn in Pillow's own font after every script, so that figures look alike.
_PLAIN_END = re.compile(r"\s+[\d(+][ -~]*$")
_LEFT_TO_RIGHT_MARK = "\u200e"

# What belongs to the character before it: marks, joiners, variants.
_JOINED = ("Mn", "Me", "Mc", "Cf")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class TextRun:
    """A part of a text that one font draws; `font_file` is None for Pillow's own."""

    text: str
    font_file: Path | None


def draw_text(
    pen: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    size: int,
    max_width: float = math.inf,
) -> None:
    """Draw a line of text in black.

    Args:
        pen: of the picture.
        position: x, y of the line's upper left corner in pixels.
        text: one line.
        size: of the font in pixels.
        max_width: in pixels; a longer text is drawn smaller, then cut.
    """
    x, y = position
    text, size = _fitting(text, size, max_width)
    runs = text_runs(text)
    if len(runs) == 1 and runs[0].font_file is None:
        pen.text((x, y), runs[0].text, fill="black", font=_font(None, size))
        return

    # All fonts stand on the line of Pillow's own.
    baseline = y + _ascent(size)
    for run in runs:
        font = _font(run.font_file, size)
        direction = _direction(run)
        pen.text((x, baseline), run.text, fill="black", font=font, anchor="ls", direction=direction)
        x += font.getlength(run.text, direction=direction)


def _fitting(text: str, size: int, max_width: float) -> tuple[str, int]:
    """A text and a size at which it is no wider than `max_width`."""
    smallest = min(size, _MIN_PX)
    while size > smallest and _width(text, size) > max_width:
        size -= 1

    shown = text
    while text and _width(shown, size) > max_width:
        text = text[:-1]
        shown = f"{text}..."
    return shown, size


def _width(text: str, size: int) -> float:
    """Of a line of text in pixels."""
    return sum(
        _font(run.font_file, size).getlength(run.text, direction=_direction(run))
        for run in text_runs(text)
    )


@lru_cache(maxsize=1024)
def text_runs(text: str) -> tuple[TextRun, ...]:
    """A line of text in parts of one font each; characters that no font has are escaped."""
    runs: list[TextRun] = []
    font_file: Path | None = None
    for character in _RIGHT_TO_LEFT_END.sub(_LEFT_TO_RIGHT_MARK, text):
        font_file, shown = _choice(character, font_file)
        if runs and runs[-1].font_file == font_file:
            runs[-1] = TextRun(runs[-1].text + shown, font_file)
        else:
            runs.append(TextRun(shown, font_file))
    return tuple(_with_plain_ends(runs)) or (TextRun("", None),)


def _with_plain_ends(runs: Iterable[TextRun]) -> Iterator[TextRun]:
    """The runs, with a probability or a plus at their ends in Pillow's own font."""
    plain = ""
    for run in runs:
        if run.font_file is None:
            plain += run.text
            continue
        if plain:
            yield TextRun(plain, None)
        end = _PLAIN_END.search(run.text)
        plain = end.group() if end else ""
        yield TextRun(run.text.removesuffix(plain), run.font_file)
    if plain:
        yield TextRun(plain, None)


def missing_characters(texts: Iterable[str]) -> str:
    """The characters that no installed font has, each once, in the order of their numbers."""
    characters = sorted(set("".join(texts)))
    return "".join(
        character
        for character in characters
        if not _is_joined(character) and _font_of(character) is _NO_FONT
    )


@lru_cache(maxsize=1)
def font_files() -> tuple[Path, ...]:
    """The installed fonts, the preferred ones first."""
    files: list[Path] = []
    for folder in _font_folders():
        for count, file in enumerate(_files_below(folder)):
            if count >= _MAX_FOLDER_FILES:
                break
            is_placeholder = file.name.lower().startswith(_PLACEHOLDERS)
            if file.suffix.lower() in _SUFFIXES and not is_placeholder:
                files.append(file)
    return tuple(sorted(files, key=_preference))


class _NoFont:
    """No font has a character; None stands for Pillow's own font."""


_NO_FONT = _NoFont()


def _choice(character: str, current: Path | None) -> tuple[Path | None, str]:
    """The font of a character after one in the font `current`, and the text to draw."""
    if _is_joined(character):
        return current, _shown_mark(character, current)

    # Spaces and figures between words of one script stay in its run, which is laid out as a whole.
    if current is not None and _has(current, character):
        return current, character

    font_file = _font_of(character)
    if isinstance(font_file, _NoFont):
        return None, _escaped(character)
    return font_file, character


def _shown_mark(mark: str, current: Path | None) -> str:
    """What is drawn of a mark or a joiner; Pillow's own font has few, and its layout no joiners."""
    if current is not None or _has(None, mark):
        return mark
    return "" if unicodedata.category(mark) == "Cf" else _escaped(mark)


def _escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()


def _is_joined(character: str) -> bool:
    return unicodedata.category(character) in _JOINED


@lru_cache(maxsize=4096)
def _font_of(character: str) -> Path | _NoFont | None:
    """The first font that has a character."""
    if _has(None, character):
        return None
    for file in font_files()[:_MAX_FONTS]:
        if _has(file, character):
            return file
    return _NO_FONT


@lru_cache(maxsize=65536)
def _has(font_file: Path | None, character: str) -> bool:
    """Whether a font has a character: it is not drawn like one that no font has."""
    if character.isspace():
        return True
    try:
        font = _font(font_file, _PROBE_PX)
        return bytes(font.getmask(character)) != bytes(font.getmask(_NO_CHARACTER))
    except (OSError, ValueError):  # a damaged font
        return False


@lru_cache(maxsize=64)
def _font(font_file: Path | None, size: int) -> Font:
    """A font of a size in pixels."""
    if font_file is None:
        return ImageFont.load_default(size)
    font = ImageFont.truetype(str(font_file), size)
    _set_regular(font)
    return font


def _set_regular(font: ImageFont.FreeTypeFont) -> None:
    """Give a variable font its regular weight: the one that it opens with may be the thinnest."""
    try:
        axes = font.get_variation_axes()
    except (OSError, NotImplementedError):  # no variable font, or no support for them
        return

    values = [axis["default"] or 0 for axis in axes]
    for index, axis in enumerate(axes):
        low = axis["minimum"] or 0
        high = axis["maximum"] or 0
        if axis["name"] in _WEIGHT_AXIS:
            values[index] = min(max(_REGULAR_WEIGHT, low), high)
    font.set_variation_by_axes([float(value) for value in values])


def _ascent(size: int) -> int:
    font = _font(None, size)
    return font.getmetrics()[0] if isinstance(font, ImageFont.FreeTypeFont) else size


def _direction(run: TextRun) -> str | None:
    """Words from right to left inside a line from left to right, where the library can do it."""
    can_lay_out = run.font_file is not None and features.check("raqm")
    return "ltr" if can_lay_out else None


def _preference(file: Path) -> tuple[int, str]:
    """The place of a font in the stack; regular ones before bold, italic and variable ones."""
    name = file.name.lower()
    ranks = [rank for rank, start in enumerate(_PREFERRED) if name.startswith(start)]
    rank = ranks[0] if ranks else len(_PREFERRED)
    is_variant = any(word in name for word in _VARIANTS)
    return 2 * rank + is_variant, name


def _font_folders() -> Iterator[Path]:
    """Where the system, the user and matplotlib keep fonts."""
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"
        yield Path(os.environ.get("LOCALAPPDATA", "")) / "Microsoft" / "Windows" / "Fonts"
    elif sys.platform == "darwin":
        yield from (Path("/Library/Fonts"), Path("/System/Library/Fonts"))
        yield Path(os.path.expanduser("~/Library/Fonts"))
    else:
        home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        yield from (Path(folder) / "fonts" for folder in (home, *shared.split(":")) if folder)

    # Its DejaVu has Cyrillic, Greek and Arabic, wherever the extra `train` is installed.
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib and matplotlib.origin:
        yield Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf"


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in sorted(names))
