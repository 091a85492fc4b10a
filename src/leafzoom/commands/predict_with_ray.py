"""`leafzoom predict --engine ray`: what it takes and what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from tqdm import tqdm

from leafzoom.errors import UsageError
from leafzoom.inference.ray_engine import RayJob, diagnose_with_ray
from leafzoom.photo_files import PhotoSearch

__all__ = ["ENGINES", "LOCAL", "RAY", "check_engine", "predict_with_ray"]

LOCAL = "local"
RAY = "ray"
ENGINES = (LOCAL, RAY)


def check_engine(
    engine: str, out: Path | str | None, address: str | None, *, other_options: dict[str, bool]
) -> None:
    """Refuse options that do not go together.

    Args:
        engine: one of `ENGINES`.
        out: of `--out`: a folder or an address.
        address: of `--address`.
        other_options: {option of the local engine: whether it is given}.

    Raises:
        UsageError: `--address` or an address in `--out` without Ray; Ray without `--out`, or with
            an option of the local engine.
    """
    if engine == LOCAL:
        if isinstance(out, str):
            raise UsageError(f"--out {out}: an address takes Parquet alone: add --engine ray")
        if address:
            raise UsageError("--address is of a Ray cluster: add --engine ray")
        return

    if out is None:
        raise UsageError("--engine ray writes files of Parquet: name their folder with --out")
    for option, is_given in other_options.items():
        if is_given:
            raise UsageError(f"--engine ray writes files of Parquet alone: leave out {option}")


def predict_with_ray(
    search: PhotoSearch, photo_count: int, job: RayJob, *, address: str | None
) -> None:
    """Diagnose with Ray, and say how many; exit 1 if a photo cannot be read.

    Raises:
        LeafzoomError: as `diagnose_with_ray`.
    """
    with tqdm(desc="diagnosing", total=photo_count, unit="photo", disable=None) as bar:
        counts = diagnose_with_ray(search, job, address=address, progress=bar.update)

    click.echo(
        f"leafzoom: {job.destination}: {counts.diagnosed} photos diagnosed, "
        f"{counts.failed} of them cannot be read, {counts.reused} answers were there",
        err=True,
    )
    if counts.failed:
        sys.exit(1)
