"""`leafzoom schema`: the JSON Schema of results."""

from __future__ import annotations

import json
from typing import get_args

import click

from leafzoom.inference.result_schema import JsonFormat, json_schema

__all__ = ["schema"]


@click.command()
@click.option(
    "--format",
    "output_format",
    default="json",
    show_default=True,
    type=click.Choice(get_args(JsonFormat)),
    help="Of the list that predict writes as json, or of one line of jsonl.",
)
def schema(output_format: JsonFormat) -> None:
    """Print the JSON Schema of what predict writes as JSON.

    Its $id has the version: a new optional key raises the second number, anything else the first.

    \b
    Example: leafzoom schema > predictions.schema.json
             leafzoom schema --format jsonl > prediction.schema.json
    """
    click.echo(json.dumps(json_schema(output_format), indent=1))
