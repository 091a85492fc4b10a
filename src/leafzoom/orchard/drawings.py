"""The drawings of an orchard report, as SVG inside its page: a map without tiles, and trends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from urllib.parse import quote

from leafzoom.orchard.report import GroupShares, OrchardPhoto

__all__ = ["KINDS", "map_svg", "trend_svg"]

KINDS = {
    "diseased": "a disease",
    "healthy": "no disease",
    "unsure": "unsure",
    "not_a_leaf": "not a leaf",
}
"""What the map tells apart, by shape and colour."""

_METRES_PER_DEGREE = 111_320
_LEAST_METRES = 1.0  # across a map: photos from one spot lie in its middle
_MAP_WIDTH = 640
_MAP_HEIGHT = 420
_MARGIN = 24
_POINT = 6
_GREATEST_SCALE = 0.3  # of the map's width, for the bar

_TREND_WIDTH = 300
_TREND_HEIGHT = 150
_LEFT = 40
_BOTTOM = 26
_TOP = 10
_RIGHT = 12


@dataclass(frozen=True)
class _Projection:
    """From metres east and north of a middle to the drawing; north is up."""

    per_metre: float

    def point(self, east: float, north: float) -> tuple[float, float]:
        """x and y in the drawing."""
        x = _MAP_WIDTH / 2 + east * self.per_metre
        y = _MAP_HEIGHT / 2 - north * self.per_metre
        return round(x, 1), round(y, 1)


def map_svg(photos: Sequence[OrchardPhoto]) -> str:
    """Where photos were taken relative to each other: a linked mark each; "" without a place.

    No coordinate stands in it; a bar gives the scale.
    """
    placed = [
        (photo, photo.exif.latitude, photo.exif.longitude)
        for photo in photos
        if photo.exif.latitude is not None and photo.exif.longitude is not None
    ]
    if not placed:
        return ""

    # Across the 180th meridian, the eastern side is the one with the smaller numbers.
    longitudes = [longitude for _, _, longitude in placed]
    if max(longitudes) - min(longitudes) > 180:
        longitudes = [longitude % 360 for longitude in longitudes]
    latitudes = [latitude for _, latitude, _ in placed]
    middle_latitude = (max(latitudes) + min(latitudes)) / 2
    middle_longitude = (max(longitudes) + min(longitudes)) / 2

    # Metres around the middle; orchards are small, so the earth is flat.
    narrowing = math.cos(math.radians(middle_latitude))
    east = [(value - middle_longitude) * _METRES_PER_DEGREE * narrowing for value in longitudes]
    north = [(value - middle_latitude) * _METRES_PER_DEGREE for value in latitudes]
    width = max(2 * max(map(abs, east)), _LEAST_METRES)
    height = max(2 * max(map(abs, north)), _LEAST_METRES)
    projection = _Projection(
        min((_MAP_WIDTH - 2 * _MARGIN) / width, (_MAP_HEIGHT - 3 * _MARGIN) / height)
    )

    marks = []
    for (photo, _, _), x_metres, y_metres in zip(placed, east, north, strict=True):
        x, y = projection.point(x_metres, y_metres)
        marks.append(_linked_mark(photo, x, y))
    return (
        f'<svg class="map" viewBox="0 0 {_MAP_WIDTH} {_MAP_HEIGHT}" role="group" '
        f'aria-label="Map of {len(placed)} photos, north is up">\n'
        f"{_scale_bar(projection)}\n" + "\n".join(marks) + "\n</svg>"
    )


def _linked_mark(photo: OrchardPhoto, x: float, y: float) -> str:
    text = escape(f"{photo.name}: {photo.answer}", quote=True)
    mark = _mark(photo.kind, x, y)
    if photo.picture is None:
        return f"<g><title>{text}</title>{mark}</g>"
    href = quote(photo.picture)
    return f'<a href="{href}" aria-label="{text}"><title>{text}</title>{mark}</a>'


def _mark(kind: str, x: float, y: float) -> str:
    """A circle for a disease, a square for none, a triangle for unsure, a cross for no leaf."""
    r = _POINT
    if kind == "diseased":
        return f'<circle class="diseased" cx="{x}" cy="{y}" r="{r}"/>'
    if kind == "healthy":
        left = round(x - r + 1, 1)
        top = round(y - r + 1, 1)
        side = 2 * r - 2
        return f'<rect class="healthy" x="{left}" y="{top}" width="{side}" height="{side}"/>'
    if kind == "unsure":
        return f'<path class="unsure" d="M{x} {y} m0 {-r} l{r} {2 * r - 1} h{-2 * r} z"/>'
    d = 2 * r
    return f'<path class="other" d="M{x} {y} m{-r} {-r} l{d} {d} m0 {-d} l{-d} {d}"/>'


def _scale_bar(projection: _Projection) -> str:
    """A bar of 1, 2 or 5 times a power of ten metres."""
    greatest = _GREATEST_SCALE * _MAP_WIDTH / projection.per_metre
    power = 10 ** math.floor(math.log10(greatest))
    metres = max(factor * power for factor in (1, 2, 5) if factor * power <= greatest)
    length = round(metres * projection.per_metre, 1)
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"

    y = _MAP_HEIGHT - 10
    return (
        f'<path class="scale" d="M{_MARGIN} {y} v-6 v6 h{length} v-6"/>'
        f'<text x="{_MARGIN + length + 8}" y="{y}">{text}</text>'
        f'<text x="{_MAP_WIDTH - _MARGIN}" y="{_MARGIN}" text-anchor="end">north ↑</text>'
    )


def trend_svg(days: Sequence[GroupShares], label: str) -> str:
    """The share of leaves with a label over days, with 95 % intervals; at least two days.

    The tables of days have the same figures as text.
    """
    shares = []
    for day in days:
        (share,) = [share for share in day.shares if share.label == label]
        shares.append(share)
    ordinals = [date.fromisoformat(day.name).toordinal() for day in days]
    first = ordinals[0]
    span = ordinals[-1] - first

    def x_of(ordinal: int) -> float:
        return round(_LEFT + 8 + (ordinal - first) / span * (_TREND_WIDTH - _LEFT - _RIGHT - 16), 1)

    parts = [_trend_axes(days[0].name, days[-1].name)]
    line = []
    for ordinal, share in zip(ordinals, shares, strict=True):
        if share.value is None:
            continue
        x = x_of(ordinal)
        y = _height_of(share.value)
        line.append(f"{x},{y}")
        parts.append(
            f'<path class="interval" d="M{x} {_height_of(share.low)} V{_height_of(share.high)}"/>'
            f'<circle class="value" cx="{x}" cy="{y}" r="3.5"/>'
        )
    parts.insert(1, f'<polyline class="line" points="{" ".join(line)}"/>')

    known = [share.value for share in shares if share.value is not None]
    ends = f"from {known[0]:.0%} to {known[-1]:.0%}" if known else "no leaves"
    name = escape(label.replace("_", " "), quote=True)
    return (
        f'<svg class="trend" viewBox="0 0 {_TREND_WIDTH} {_TREND_HEIGHT}" role="img" '
        f'aria-label="{name}: {ends}">{"".join(parts)}</svg>'
    )


def _trend_axes(first_day: str, last_day: str) -> str:
    right = _TREND_WIDTH - _RIGHT
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = _height_of(share)
        lines.append(f'<path class="grid" d="M{_LEFT} {y} H{right}"/>')
        lines.append(f'<text x="{_LEFT - 5}" y="{y + 4}" text-anchor="end">{share:.0%}</text>')
    bottom = _TREND_HEIGHT - 6
    lines.append(f'<text x="{_LEFT}" y="{bottom}">{first_day}</text>')
    lines.append(f'<text x="{right}" y="{bottom}" text-anchor="end">{last_day}</text>')
    return "".join(lines)


def _height_of(share: float) -> float:
    return round(_TOP + (1 - share) * (_TREND_HEIGHT - _TOP - _BOTTOM), 1)
