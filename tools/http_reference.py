"""The reference page of the HTTP API, from the API's document and the service's metrics."""

from __future__ import annotations

from typing import Any

import leafzoom
from leafzoom.serve.app import create_app
from leafzoom.serve.service import Service
from tools.markdown import Lines, heading, row

__all__ = ["http_page"]

_INTRODUCTION = """\
# HTTP API

<!-- Written by python -m tools.reference; do not edit. -->

`leafzoom serve` answers below `/api/v1`. The whole description is at `/api/v1/openapi.json`, from
which generators make clients. The items of an answer are in [File formats](formats.md).
"""

_METRICS = """
## Metrics

`/metrics` has these in Prometheus' text format, beside those that its client adds.
"""


def http_page() -> str:
    """The page."""
    service = Service(leafzoom.load("bundled"))
    document = create_app(service).openapi()

    lines = [_INTRODUCTION]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += _operation_lines(f"{method.upper()} {path}", operation)

    lines += [_METRICS, *_metric_table(service.monitoring.exposition().decode())]
    return "\n".join(lines) + "\n"


def _operation_lines(title: str, operation: dict[str, Any]) -> Lines:
    """A route's section: what it does, its parameters, its answers."""
    lines = [f"## {title}", "", f"{operation['summary']}.", ""]
    description = operation.get("description")
    if description:
        lines += [*description.splitlines(), ""]

    parameters = operation.get("parameters", [])
    if parameters:
        lines += heading(["parameter", "in", "meaning"])
        for parameter in parameters:
            meaning = " ".join(parameter.get("description", "").split())
            lines.append(row([f"`{parameter['name']}`", parameter["in"], meaning]))
        lines.append("")

    lines += heading(["status", "meaning"])
    for status, answer in sorted(operation["responses"].items()):
        lines.append(row([status, " ".join(answer["description"].split())]))
    return [*lines, ""]


def _metric_table(exposition: str) -> Lines:
    """A row a metric, from its lines `# HELP` and `# TYPE`."""
    meanings: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for line in exposition.splitlines():
        if not line.startswith("# "):
            continue
        _, entry, name, text = line.split(" ", 3)
        target = meanings if entry == "HELP" else kinds
        target[name] = text

    lines = heading(["metric", "type", "meaning"])
    for name, meaning in meanings.items():
        # When a counter was created is a gauge of its own.
        if not name.endswith("_created"):
            lines.append(row([f"`{name}`", kinds[name], meaning]))
    return lines
