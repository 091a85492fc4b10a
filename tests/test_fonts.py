"""Labels of any script in pictures: the font stack, and the rule where no font has a character."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from leafzoom import fonts
from leafzoom.drawing import captioned_sheet
from leafzoom.fonts import TextRun, draw_text, font_files, missing_characters, text_runs

matplotlib = pytest.importorskip("matplotlib")
DEJAVU = Path(matplotlib.__file__).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"

CHINESE = "苹果黑星病"
ARABIC = "جرب التفاح"
DEVANAGARI = "सेब की पपड़ी"

CACHED = (fonts.text_runs, fonts.font_files, fonts._font_of, fonts._has, fonts._font)


@pytest.fixture
def only_dejavu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose one font has Arabic, and neither Chinese nor Devanagari."""
    folder = tmp_path / "fonts"
    folder.mkdir()
    shutil.copy(DEJAVU, folder)
    (folder / "damaged.ttf").write_bytes(b"no font")
    monkeypatch.setattr(fonts, "_font_folders", lambda: iter([folder]))
    for function in CACHED:
        function.cache_clear()
    yield folder / DEJAVU.name
    for function in CACHED:
        function.cache_clear()


def drawn(text: str) -> np.ndarray:
    picture = Image.new("RGB", (400, 40), "white")
    draw_text(ImageDraw.Draw(picture), (5, 5), text, 18)
    return np.asarray(picture)


def test_latin_is_drawn_as_pillow_draws_it() -> None:
    picture = Image.new("RGB", (400, 40), "white")
    font = ImageFont.load_default(18)
    ImageDraw.Draw(picture).text((5, 5), "scab 93% (sure)", fill="black", font=font)

    assert np.array_equal(drawn("scab 93% (sure)"), np.asarray(picture))


def test_another_script_is_one_run_of_a_font_that_has_it(only_dejavu: Path) -> None:
    assert font_files()[0] == only_dejavu
    assert text_runs("Парша яблони") == (TextRun("Парша яблони", only_dejavu),)
    assert text_runs("Парша 93%") == (TextRun("Парша", only_dejavu), TextRun(" 93%", None))
    assert text_runs("scab + Парша") == (
        TextRun("scab + ", None),
        TextRun("Парша", only_dejavu),
    )
    assert missing_characters([ARABIC, "Парша"]) == ""
    assert drawn("Парша").min() < 100
    assert not np.array_equal(drawn("Парша"), drawn("Ларша"))


def test_what_no_font_has_is_drawn_by_its_number(only_dejavu: Path) -> None:
    assert text_runs(f"{CHINESE[:2]} 93%") == (TextRun(r"\u82f9\u679c 93%", None),)
    assert text_runs("सेब")[0].text == r"\u0938\u0947\u092c"
    assert missing_characters([CHINESE, "scab"]) == "".join(sorted(CHINESE))

    # Labels that differ look different.
    assert not np.array_equal(drawn(CHINESE[0]), drawn(CHINESE[1]))


@pytest.mark.parametrize("label", ["Парша", "सेब", "scab"])
def test_a_text_that_is_too_wide_is_drawn_smaller_then_cut(only_dejavu: Path, label: str) -> None:
    picture = Image.new("RGB", (900, 40), "white")
    pen = ImageDraw.Draw(picture)
    draw_text(pen, (0, 0), " + ".join([label] * 12), 18, max_width=200)
    pixels = np.asarray(picture)

    ink = np.flatnonzero((pixels < 128).any(axis=(0, 2)))
    assert 150 < ink[-1] <= 200
    fitting = Image.new("RGB", (900, 40), "white")
    draw_text(ImageDraw.Draw(fitting), (5, 5), label, 18, max_width=890)
    assert np.array_equal(np.asarray(fitting)[:, :400], drawn(label))


class VariableFont:
    """A font whose weight opens at its thinnest, as Noto Sans CJK's does."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def get_variation_axes(self) -> list[dict[str, object]]:
        width = {"name": b"Width", "minimum": 75, "default": 100, "maximum": 100}
        weight = {"name": b"Weight", "minimum": 100, "default": 100, "maximum": 900}
        return [width, weight]

    def set_variation_by_axes(self, values: list[float]) -> None:
        self.values = values


def test_a_variable_font_is_drawn_in_its_regular_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font = VariableFont()
    monkeypatch.setattr(ImageFont, "truetype", lambda file, size: font)

    fonts._font(tmp_path / "variable.ttc", 17)

    assert font.values == [100, 400]
    fonts._font.cache_clear()


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow cannot lay out Arabic here")
def test_arabic_runs_from_right_to_left_and_its_figure_stands_behind_it(only_dejavu: Path) -> None:
    """As the layout library places each part alone."""
    word = drawn("جرب")
    both = drawn(ARABIC)
    with_figure = drawn(f"{ARABIC} 88%")

    # The first word is the right one of the two.
    ink = np.flatnonzero((both < 128).any(axis=(0, 2)))
    word_ink = np.flatnonzero((word < 128).any(axis=(0, 2)))
    width = word_ink[-1] - word_ink[0]
    right_part = both[:, ink[-1] - width : ink[-1] + 1]
    assert np.abs(right_part - word[:, word_ink[0] : word_ink[-1] + 1].astype(int)).mean() < 6

    # The label stays where it is, and the figure follows to its right.
    assert np.array_equal(with_figure[:, : ink[-1]], both[:, : ink[-1]])
    assert (with_figure[:, ink[-1] + 3 :] < 128).any()


def test_a_sheet_with_labels_of_every_script() -> None:
    """Whatever is installed, each label leaves ink above and below."""
    tile = Image.new("RGB", (300, 200), "green")
    sheet = captioned_sheet(
        f"{CHINESE} + {ARABIC}", [tile, tile], [[f"{DEVANAGARI} 93%"], [f"{CHINESE} 7%"]]
    )

    pixels = np.asarray(sheet)
    assert pixels[:34].min() < 100
    assert pixels[244:264, :312].min() < 100
    assert pixels[244:264, 330:].min() < 100
