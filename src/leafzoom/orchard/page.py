"""An orchard report as one page: tables, a map, trends, and the photos behind each number."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from urllib.parse import quote

from leafzoom.orchard.drawings import KINDS, map_svg, trend_svg
from leafzoom.orchard.prevalence import MIN_PLANNED_LEAVES, Share
from leafzoom.orchard.report import GroupShares, OrchardPhoto, OrchardReport

__all__ = ["orchard_page"]

_MAX_LISTED = 300  # photos of one list; predictions.csv has all

_LEGEND = {"diseased": "●", "healthy": "■", "unsure": "▲", "not_a_leaf": "✕"}


def orchard_page(report: OrchardReport, *, draw_map: bool) -> str:
    """The page as HTML; besides itself it needs only the pictures next to it.

    Args:
        report: what it shows.
        draw_map: whether to draw where photos lie relative to each other.
    """
    template = resources.files("leafzoom.orchard") / "page.html"
    page = Template(template.read_text(encoding="utf-8"))
    lists = _PhotoLists()
    tables = []
    for by in report.groupings:
        groups = [group for group in report.groups if group.by == by]
        tables.append(_table(f"By {by}", groups, report, lists))
    trends = _trends(report, lists)
    return page.substitute(
        photos=_counted(len(report.photos), "photo"),
        model=escape(report.model),
        method=escape(_method(report)),
        tables="\n".join(tables),
        trends=trends,
        map=_map(report) if draw_map else "",
        lists="\n".join(lists.sections),
    )


class _PhotoLists:
    """The lists of photos that the numbers lead to."""

    def __init__(self) -> None:
        self.sections: list[str] = []

    def link(self, text: str, title: str, photos: Sequence[OrchardPhoto], back: str) -> str:
        """A number that leads to the list of its photos; plain text without photos.

        Args:
            text: of the link.
            title: of the list.
            photos: in the list.
            back: the id of the table.
        """
        if not photos:
            return text
        anchor = f"photos-{len(self.sections) + 1}"
        self.sections.append(_photo_list(anchor, title, photos, back))
        label = escape(f"{text}: photos, {title}", quote=True)
        return f'<a href="#{anchor}" aria-label="{label}">{text}</a>'


def _photo_list(anchor: str, title: str, photos: Sequence[OrchardPhoto], back: str) -> str:
    items = []
    for photo in photos[:_MAX_LISTED]:
        name = escape(photo.name)
        answer = escape(photo.answer)
        picture = ""
        if photo.picture is not None:
            url = quote(photo.picture)
            picture = f'<a href="{url}"><img loading="lazy" src="{url}" alt="{answer}"></a>'
        items.append(f'<li>{picture}<b>{answer}</b> <span class="name">{name}</span></li>')

    shown = _counted(len(photos), "photo")
    if len(photos) > _MAX_LISTED:
        shown = f"the first {_MAX_LISTED} of {shown}"
    return (
        f'<section class="photos" id="{anchor}" tabindex="-1">\n'
        f"<h2>{escape(title)}</h2>\n"
        f'<p>{shown}. <a href="#{back}">Back to the table</a></p>\n'
        f"<ul>{''.join(items)}</ul>\n</section>"
    )


def _table(
    title: str, groups: Sequence[GroupShares], report: OrchardReport, lists: _PhotoLists
) -> str:
    """A row a group, a column a label."""
    table_id = title.lower().replace(" ", "-")
    heads = "".join(f'<th scope="col">{_words(label)}</th>' for label in report.labels)
    rows = []
    for group in groups:
        cells = [f'<th scope="row">{escape(group.name)}</th>', _leaves_cell(group, lists, table_id)]
        cells += [
            f"<td>{_share_cell(group, share, lists, table_id)}</td>" for share in group.shares
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")

    return (
        f'<section><h2 id="{table_id}">{escape(title)}</h2>\n'
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{table_id}"><table>\n'
        f'<thead><tr><th scope="col">{escape(title.rpartition(" ")[2])}</th>'
        f'<th scope="col">leaves</th>{heads}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div></section>"
    )


def _leaves_cell(group: GroupShares, lists: _PhotoLists, table_id: str) -> str:
    """How many leaves, and how many photos were something else."""
    leaves = [*group.having("diagnosis"), *group.having("unsure")]
    text = lists.link(str(len(leaves)), f"{group.name}: leaves", leaves, table_id)
    notes = ["few: read the intervals"] if 0 < len(leaves) < MIN_PLANNED_LEAVES else []
    for verdict, words in (
        ("unsure", "unsure"),
        ("not_a_leaf", "no leaf"),
        ("failed", "unreadable"),
    ):
        photos = group.having(verdict)
        if photos:
            title = f"{group.name}: {words}"
            notes.append(f"{lists.link(str(len(photos)), title, photos, table_id)} {words}")
    return f"<td>{text}<small>{', '.join(notes)}</small></td>"


def _share_cell(group: GroupShares, share: Share, lists: _PhotoLists, table_id: str) -> str:
    """The share with its interval, the photos behind it, and what would halve the interval."""
    if share.value is None:
        return "no leaves"

    title = f"{group.name}: {share.label.replace('_', ' ')}"
    count = _counted(share.labelled, "photo")
    link = lists.link(count, title, group.labelled(share.label), table_id)
    plan = ""
    if share.more_leaves is not None:
        plan = f"; +{share.more_leaves} leaves halve it"
    elif group.leaves >= MIN_PLANNED_LEAVES:
        plan = "; the model confuses too much here for more leaves to halve it"
    return (
        f"<b>{share.value:.0%}</b> <span>{share.low:.0%} to {share.high:.0%}</span>"
        f"<small>{link}{plan}</small>"
    )


def _trends(report: OrchardReport, lists: _PhotoLists) -> str:
    """A chart a label, and the same as a table; nothing for fewer than two days."""
    if not report.days:
        return ""
    charts = [
        f"<figure><figcaption>{_words(label)}</figcaption>{trend_svg(report.days, label)}</figure>"
        for label in report.labels
    ]
    table = ""
    if report.groupings != ("day",):
        table = _table("All groups by day", report.days, report, lists)
    return (
        "<section><h2>Trend over days</h2>\n<p>The share of leaves with each label. Lines: 95 % "
        f'intervals.</p>\n<div class="charts">{"".join(charts)}</div></section>\n{table}'
    )


def _map(report: OrchardReport) -> str:
    """The map with its legend; nothing if no photo has a place."""
    drawing = map_svg(report.photos)
    if not drawing:
        return ""
    legend = " ".join(
        f'<span class="{kind}">{_LEGEND[kind]}</span> {words}' for kind, words in KINDS.items()
    )
    return (
        "<section><h2>Map</h2>\n<p>Where the photos lie relative to each other. This page has no "
        "coordinates; map.geojson has them. Each mark leads to its picture.</p>\n"
        f"{drawing}\n<p>{legend}</p></section>"
    )


def _method(report: OrchardReport) -> str:
    """How the shares were estimated."""
    if report.uncorrected:
        return (
            f"Shares are uncorrected: {report.uncorrected}. They are those of the diagnosed "
            "photos; unsure ones and what is no leaf are left out. Intervals carry the "
            "uncertainty of the photos alone."
        )
    return (
        "Shares are corrected for what the model confuses, as it was counted on "
        f"{report.validation_photographs} validation photographs. The 95 % intervals carry the "
        "uncertainty of both. Unsure photos count as an answer of their own; what is no leaf is "
        "left out."
    )


def _words(label: str) -> str:
    return escape(label.replace("_", " "))


def _counted(count: int, noun: str) -> str:
    """Such as `1 photo` or `2 photos`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
