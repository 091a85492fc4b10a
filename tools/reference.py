"""Write the reference pages from the program itself: python -m tools.reference [--check]

docs/reference/cli.md from the command line, formats.md from the JSON Schema, the CSV writer and the
shipped model, http.md from the API's document and the metrics of the service. --check writes
nothing and exits with 1 if a page is not up to date. Takes two seconds.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import click
import onnxruntime

from leafzoom.cli import SUMMARIES, cli
from leafzoom.inference.formats import write_records
from leafzoom.inference.result_schema import json_schema
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.onnx_reader import read_onnx
from tools.http_reference import http_page
from tools.markdown import Lines, heading, row
from tools.provenance import ROOT

__all__ = ["PAGES", "main", "parser"]

_WRITTEN = "<!-- Written by python -m tools.reference; do not edit. -->"

_FORMATS = """\
## JSON

`leafzoom predict --format json` writes a list, an item a photo; `--format jsonl` a line a photo.
The HTTP API answers with the same items. `leafzoom schema` prints this schema. Its `$id` has
the version: a new optional key raises the second number, anything else the first.
"""

_CSV = """
## CSV

`leafzoom predict --format csv`, and `predictions.csv` of `--out`. The columns of the shipped model:
"""

_ONNX = """
## Model file

A model is one `.onnx` file. It holds all between a picture and the answer: normalisation, zooms and
fusion. The metadata has labels, thresholds, recipe and licence; `leafzoom info` shows them. The
inputs and outputs of the shipped model:
"""


def main() -> int:
    """Write or check; returns the exit status."""
    is_check = parser().parse_args().check
    outdated = []
    for name, page in PAGES.items():
        path = ROOT / "docs" / "reference" / f"{name}.md"
        text = page()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            outdated.append(path.name)
        if not is_check:
            path.write_text(text, encoding="utf-8")

    if is_check and outdated:
        print(f"{', '.join(outdated)}: run python -m tools.reference", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.reference",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    return options


def _cli_page() -> str:
    """Every command with its options."""
    lines = ["# Command line", "", _WRITTEN, ""]
    lines += [
        "`leafzoom COMMAND --help` shows the same.",
        "",
        *heading(["command", "what it does"]),
    ]
    for name, summary in SUMMARIES.items():
        lines.append(row([f"[`{name}`](#leafzoom-{name})", summary]))

    for name in SUMMARIES:
        with click.Context(cli, info_name="leafzoom") as parent:
            command = cli.get_command(parent, name)
            assert command is not None
            lines += _command_lines(command, parent)
    return "\n".join(lines) + "\n"


def _command_lines(command: click.Command, parent: click.Context) -> Lines:
    """A command's section: usage, help, and a table of its options."""
    context = click.Context(command, info_name=command.name, parent=parent)
    usage = " ".join(context.get_usage().removeprefix("Usage: ").split())
    lines = ["", f"## leafzoom {command.name}", "", f"    {usage}", ""]
    lines += _help_lines(command.help or "")
    lines += ["", *heading(["option", "meaning"])]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            option, meaning = record
            shown = " ".join(meaning.split())
            lines.append(row([f"`{_cell(option)}`", _cell(_escaped(shown))]))
    return lines


def _help_lines(text: str) -> Lines:
    """A command's help as Markdown; what follows `\\b` is a block of code."""
    lines: Lines = []
    for paragraph in (part.strip() for part in text.split("\n\n")):
        if paragraph.startswith("\b"):
            lines += [f"    {line.strip()}" for line in paragraph.splitlines()[1:]]
        else:
            lines += [_escaped(line.strip()) for line in paragraph.splitlines()]
        lines.append("")
    return lines[:-1]


def _formats_page() -> str:
    """The files that programs read and write."""
    lines = ["# File formats", "", _WRITTEN, "", _FORMATS]
    schema = json_schema("json")
    for name, part in schema["$defs"].items():
        lines += [f"### `{name}`", "", *_schema_table(part), ""]

    text = json.dumps(schema, indent=1)
    lines += ['??? note "The JSON Schema"', "", "    ```json"]
    lines += [f"    {line}" for line in text.splitlines()]
    lines += ["    ```", _CSV, f"    {_csv_header()}", "", *_csv_notes(), _ONNX]
    lines += _tensor_table()
    return "\n".join(lines) + "\n"


def _schema_table(part: dict[str, Any]) -> Lines:
    """A row a key of an object of the schema."""
    lines = heading(["key", "type", "always there", "meaning"])
    required = part.get("required", [])
    for key, schema in part["properties"].items():
        always = "yes" if key in required else ""
        meaning = _escaped(schema.get("description", ""))
        lines.append(row([f"`{key}`", _cell(_type_text(schema)), always, _cell(meaning)]))
    return lines


def _type_text(schema: dict[str, Any]) -> str:
    """The type of a value in words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])

    kind = schema.get("type", "any")
    names = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array" and "items" in schema:
        return f"array of {_type_text(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type_text(schema['additionalProperties'])}"
    return str(names)


def _csv_header() -> str:
    """The first line of a CSV, as the writer writes it."""
    out = io.StringIO()
    _, manifest = read_onnx(bundled_model())
    write_records([], "csv", out, manifest.labels.names, possible=True)
    return out.getvalue().splitlines()[0]


def _csv_notes() -> Lines:
    return [
        "Labels in a cell have spaces between them. `possible` is there with `--coverage` alone.",
        "A photo that cannot be read has a row with its `error`.",
    ]


def _tensor_table() -> Lines:
    """Inputs and outputs of the shipped model."""
    session = onnxruntime.InferenceSession(str(bundled_model()))
    lines = heading(["tensor", "", "type", "shape"])
    for role, tensors in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for tensor in tensors:
            shape = " x ".join(str(size) for size in tensor.shape)
            kind = tensor.type.removeprefix("tensor(").removesuffix(")")
            lines.append(row([f"`{tensor.name}`", role, kind, shape]))
    return lines


def _cell(text: str) -> str:
    """Text that a table's cell can hold."""
    return text.replace("|", r"\|")


def _escaped(text: str) -> str:
    """Text in which Markdown sees no emphasis, link or tag; code stays as it is."""
    parts = text.split("`")
    for index in range(0, len(parts), 2):
        for sign in ("*", "_", "<", "["):
            parts[index] = parts[index].replace(sign, f"\\{sign}")
    return "`".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "cli": _cli_page,
    "formats": _formats_page,
    "http": http_page,
}
"""The pages below docs/reference, and what makes them."""


if __name__ == "__main__":
    sys.exit(main())
