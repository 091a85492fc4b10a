"""`leafzoom tune`: trial trainings that choose some of a recipe's values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leafzoom.commands.options import (
    NAME_OR_FILE,
    PATH,
    accelerator_option,
    data_options,
    echo_to_stderr,
    init_option,
    labelled_table,
    precision_option,
    recipe_option,
    set_option,
    source_cache,
    split_option,
)
from leafzoom.errors import needs_extra

if TYPE_CHECKING:
    from leafzoom.dataset.columns import TableReading

__all__ = ["tune"]


@click.command()
@data_options
@recipe_option("A shipped recipe's name, or a TOML file: what the trials change.")
@click.option(
    "--ranges",
    "ranges_name",
    metavar="NAME|FILE",
    type=NAME_OR_FILE,
    default="zoom-bounds",
    show_default=True,
    help="The values that the trials choose from: a shipped name, or a TOML file.",
)
@click.option("--out", type=PATH, required=True, help="The study's folder, with a run a trial.")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many trials in all; with --resume those that have ended count.",
)
@split_option("What is trained on; its validation part compares the trials.")
@init_option("Start every trial from this checkpoint's backbone: a run, a file, or bundled.")
@set_option("Change a recipe's value in every trial (may be repeated).")
@click.option("--resume", is_flag=True, help="Go on with the study in --out.")
@accelerator_option
@precision_option
def tune(
    data: Path,
    csv_file: Path | None,
    cache_folder: Path | None,
    reading: TableReading,
    recipe_name: str,
    ranges_name: str,
    out: Path,
    trials: int,
    split_name: str,
    init: str | None,
    changes: tuple[str, ...],
    resume: bool,
    accelerator: str,
    precision: str,
) -> None:
    """Try values of a recipe, and keep the best.

    \b
    Examples:
      leafzoom tune --data leaves --recipe default --out zoom
      leafzoom tune --data leaves --recipe demo --ranges mine.toml --out mine
      leafzoom tune --data leaves --recipe default --out zoom --trials 40 --resume
    """
    with needs_extra("tune", "leafzoom tune"):
        import optuna  # noqa: F401
    with needs_extra("train", "leafzoom tune"):
        from leafzoom.dataset.split import training_split
        from leafzoom.model.pretrained import initial_checkpoint
        from leafzoom.recipe import load_recipe, recipe_to_dict
        from leafzoom.storage import sha256_of
        from leafzoom.training.run import Settings
        from leafzoom.tuning.ranges import check_ranges, load_ranges
        from leafzoom.tuning.report import write_report
        from leafzoom.tuning.study import open_study
        from leafzoom.tuning.trial import TrainTrial

    # A wrong key or checkpoint is an error before the photographs are decoded.
    recipe = load_recipe(recipe_name, changes)
    ranges = load_ranges(ranges_name)
    check_ranges(ranges, recipe_name, changes)
    start = initial_checkpoint(init) if init else None

    table = labelled_table(data, csv_file, reading)
    cache = source_cache(table, data, cache_folder, recipe.data.source_size)
    cache.table.require_clean()
    split = training_split(cache, split_name, "validation")

    shared = {
        "recipe": recipe_to_dict(recipe),
        "photographs": cache.digest,
        "table": cache.table.digest(),
        "split": split.digest(),
        "init": sha256_of(start.path) if start else None,
    }
    study = open_study(out, ranges, shared, seed=recipe.seed, resume=resume)
    trial = TrainTrial(
        cache=cache,
        split=split,
        recipe=recipe_name,
        changes=changes,
        init=init,
        settings=Settings(accelerator=accelerator, precision=precision),
        echo=echo_to_stderr,
    )
    try:
        study.run(trial, trials, echo_to_stderr)
    finally:
        best = write_report(study, recipe_name, changes)
    if best:
        click.echo(best.read_text(encoding="utf-8"), nl=False)
    echo_to_stderr(f"report: {out / 'index.html'}")
