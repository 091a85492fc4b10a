"""`leafzoom train`: all stages of a recipe, then the export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leafzoom.commands.export import export_checkpoint
from leafzoom.commands.options import (
    MODEL,
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
    from leafzoom.dataset.cache import Cache
    from leafzoom.dataset.columns import TableReading
    from leafzoom.dataset.split import SelectOn

__all__ = ["train"]


@click.command()
@data_options
@recipe_option("A shipped recipe's name, or a TOML file.")
@click.option("--out", type=PATH, required=True, help="The run's folder.")
@split_option("What is trained on: inner-train, all, folders, paper-train, or a split in JSON.")
@click.option(
    "--select-on",
    type=click.Choice(["validation", "none"]),
    default="validation",
    show_default=True,
    help="What chooses epochs and fits decisions; none: train on all, last epoch, threshold 0.5.",
)
@init_option("Start from this checkpoint's backbone: a run, a file, or bundled.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="RUN|FILE",
    type=MODEL,
    help="Network of alternation.soft_labels, if not --init's (may be repeated: their mean).",
)
@set_option("Change a recipe's value (may be repeated).")
@click.option(
    "--negatives",
    type=PATH,
    help="Folder or ZIP of pictures that show none of the leaves; the model learns to refuse them.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@accelerator_option
@precision_option
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="GPUs of each machine, or processes on its CPU, that share each batch.",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Machines; the command runs on each of them (see docs/training.md).",
)
@click.option("--tensorboard", is_flag=True, help="The same as --logger tensorboard.")
@click.option(
    "--logger",
    "loggers",
    multiple=True,
    metavar="NAME",
    help="Log to csv (always), tensorboard, mlflow, wandb or a plug-in's log (may be repeated).",
)
def train(
    data: Path,
    csv_file: Path | None,
    cache_folder: Path | None,
    reading: TableReading,
    recipe_name: str,
    out: Path,
    split_name: str,
    select_on: SelectOn,
    init: str | None,
    teachers: tuple[str, ...],
    changes: tuple[str, ...],
    negatives: Path | None,
    resume: bool,
    accelerator: str,
    precision: str,
    devices: int,
    nodes: int,
    tensorboard: bool,
    loggers: tuple[str, ...],
) -> None:
    """Train all stages of a recipe, then export the model.

    \b
    Examples:
      leafzoom train --data leaves --recipe default --out runs/first
      leafzoom train --data leaves --recipe demo --set seed=1 --out runs/second
      leafzoom train --data mine --recipe own-leaves --init bundled --out mine/run
      leafzoom train --data mine --recipe own.toml --teacher bundled --out taught
      leafzoom train --data leaves --recipe paper --select-on none --out paper
      leafzoom train --data leaves --recipe paper --devices 4 --out paper
    """
    with needs_extra("train", "leafzoom train"):
        from leafzoom.dataset.split import training_split
        from leafzoom.model.pretrained import initial_checkpoint
        from leafzoom.recipe import load_recipe
        from leafzoom.training.launch import is_first_process, quieten_others
        from leafzoom.training.run import Settings
        from leafzoom.training.run import train as train_run
        from leafzoom.training.teachers import load_teachers

    # Of the processes of one training the first prints, and the others run the same command.
    quieten_others(devices * nodes)

    # A checkpoint that does not exist is an error before the photographs are decoded.
    if init:
        initial_checkpoint(init)
    load_teachers(teachers)

    # The recipe sets the size of the decoded photographs.
    recipe = load_recipe(recipe_name, changes)
    table = labelled_table(data, csv_file, reading)
    cache = source_cache(table, data, cache_folder, recipe.data.source_size)
    cache.table.require_clean()
    split = training_split(cache, split_name, select_on)

    # A teacher may read another size; it has a cache of its own then.
    def source_sizes(source_size: int) -> Cache:
        folder = cache_folder and cache_folder.with_name(f"{cache_folder.name}-{source_size}")
        return source_cache(table, data, folder, source_size)

    # How it runs on this machine; what is trained is up to the recipe.
    settings = Settings(
        accelerator=accelerator,
        precision=precision,
        devices=devices,
        nodes=nodes,
        tensorboard=tensorboard,
        loggers=loggers,
        negatives=negatives,
        teachers=teachers,
        source_sizes=source_sizes,
    )
    checkpoint = train_run(
        cache,
        split,
        recipe,
        out,
        init=init,
        resume=resume,
        settings=settings,
        echo=echo_to_stderr,
    )

    # The exported model predicts without PyTorch.
    if is_first_process(devices * nodes):
        export_checkpoint(checkpoint, out / "model.onnx", cache)
