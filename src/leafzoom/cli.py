"""The command line. Nothing heavy is imported before a command needs it, so that --help starts at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leafzoom import __version__
from leafzoom.errors import DataError, LeafzoomError, UsageError, needs_extra

if TYPE_CHECKING:
    from leafzoom.dataset.cache import Cache

__all__ = ["cli", "main"]

_PATH = click.Path(path_type=Path)
_SPLITS = "all, inner-train, inner-select, inner-report, paper-train, paper-validation, or a file"


class _Group(click.Group):
    """Commands whose expected errors end in one line and their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LeafzoomError as error:
            click.echo(f"leafzoom: {error}", err=True)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("leafzoom: interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:
            raise  # the reader has seen enough (`| head`): click ends without a word
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"leafzoom: {where}{error.strerror or error}", err=True)
            sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def cli() -> None:
    """Find diseases on apple leaves by looking closer.

    leafzoom looks at the whole photograph, proposes a region, looks at it enlarged, and again, and fuses what
    it saw (a recurrent attention CNN).
    """


def main() -> None:
    """The console script."""
    cli()


def _data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every command that reads labelled photographs."""
    for option in (
        click.option("--cache", "cache_folder", type=_PATH, help="Where decoded photographs are kept."),
        click.option("--csv", "csv_file", type=_PATH, help="The table image,labels, if not DIR/train.csv."),
        click.option("--data", type=_PATH, required=True, help="Kaggle's layout, or a folder with a CSV."),
    ):
        command = option(command)
    return command


def _say(line: str) -> None:
    click.echo(line, err=True)


@cli.command()
@click.option("--out", type=_PATH, default=Path("demo"), show_default=True, help="A new folder.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of leaves and training.")
def demo(out: Path, seed: int) -> None:
    """Tour the whole system on rendered leaves: train, evaluate, export, predict.

    \b
    Example: leafzoom demo --out demo
    """
    from leafzoom.demo import run_demo

    run_demo(out, seed=seed, say=click.echo)


@cli.command()
@_data_options
@click.option("--out", type=_PATH, help="Folder for the report (index.html and prepare.json).")
@click.option("--source-size", type=click.IntRange(32, 2048), default=256, show_default=True, help="Side in pixels.")
def prepare(data: Path, csv_file: Path | None, cache_folder: Path | None, out: Path | None, source_size: int) -> None:
    """Check every photograph, find duplicates, build the cache.

    \b
    Example: leafzoom prepare --data plant-pathology-2021 --out photographs
    """
    with needs_extra("train", "leafzoom prepare"):
        from leafzoom.dataset.audit import near_duplicates_of
        from leafzoom.dataset.lesions import read_lesions
        from leafzoom.evaluation.dataset_page import combination_counts, write_dataset_page
        from leafzoom.storage import make_folder, write_json

    if out:
        make_folder(out)
    cache = _cache(data, csv_file, cache_folder, source_size)
    table = cache.table
    pairs = near_duplicates_of(cache)
    conflicts = sum(pair.conflicting(table) for pair in pairs)
    click.echo(f"{len(table)} photographs in {table.csv}, cached in {cache.folder}")
    counts = combination_counts([row.labels for row in table.rows])
    for combination, count in counts.items():
        click.echo(f"  {count:6} {combination or '(no label)'}")
    click.echo(f"{len(pairs)} pairs of near-duplicates, {conflicts} of them with different labels")
    if out:
        write_json(
            out / "prepare.json",
            {
                "csv": str(table.csv),
                "photographs": len(table),
                "table_digest": table.digest(),
                "photographs_digest": cache.digest,
                "combinations": counts,
                "problems": [{"row": p.line, "image": p.image, "problem": p.what} for p in table.problems],
                "near_duplicates": [
                    {
                        "images": [table.rows[i].image for i in (pair.first, pair.second)],
                        "labels": [" ".join(table.rows[i].labels) for i in (pair.first, pair.second)],
                        "rows": [table.rows[i].line for i in (pair.first, pair.second)],
                        "correlation": round(pair.correlation, 4),
                        "conflicting": pair.conflicting(table),
                    }
                    for pair in pairs
                ],
            },
        )
        write_dataset_page(cache, pairs, out / "index.html")
        click.echo(f"report in {out / 'index.html'} and {out / 'prepare.json'}")
    if table.problems:
        for problem in table.problems:
            click.echo(f"leafzoom: {problem}", err=True)
        raise DataError(f"{len(table.problems)} rows of {table.csv} cannot be used (listed above): mend them")
    if not len(table):
        table.require_clean()
    lesions = read_lesions(data, cache)
    if lesions:
        click.echo(f"{sum(map(len, lesions.values()))} known lesions on {len(lesions)} photographs")


@cli.command()
@_data_options
@click.option("--recipe", "recipe_name", required=True, help="A shipped recipe's name, or a TOML file.")
@click.option("--out", type=_PATH, required=True, help="The run's folder.")
@click.option("--split", "split_name", default="inner-train", show_default=True,
              help="What is trained on: inner-train, all, paper-train, or a split in JSON.")  # fmt: skip
@click.option("--init", help="Start from this checkpoint's backbone: a file, or bundled.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a recipe's value.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--accelerator", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "gpu"]))
@click.option("--precision", default="32-true", show_default=True, type=click.Choice(["32-true", "bf16-mixed"]))
@click.option("--tensorboard", is_flag=True, help="Log to RUN/tensorboard too.")
def train(
    data: Path,
    csv_file: Path | None,
    cache_folder: Path | None,
    recipe_name: str,
    out: Path,
    split_name: str,
    init: str | None,
    changes: tuple[str, ...],
    resume: bool,
    accelerator: str,
    precision: str,
    tensorboard: bool,
) -> None:
    """Train all stages of a recipe, then export the model.

    \b
    Examples:
      leafzoom train --data plant-pathology-2021 --recipe default --out runs/first
      leafzoom train --data my-leaves --recipe default --out runs/mine --set fine_tuning.epochs=8
    """
    with needs_extra("train", "leafzoom train"):
        from leafzoom.dataset.split import training_split
        from leafzoom.recipe import load_recipe
        from leafzoom.training.run import Settings
        from leafzoom.training.run import train as train_run

    recipe = load_recipe(recipe_name, changes)
    cache = _cache(data, csv_file, cache_folder, recipe.data.source_size)
    cache.table.require_clean()
    split = training_split(cache, split_name)
    settings = Settings(accelerator=accelerator, precision=precision, tensorboard=tensorboard)
    path = train_run(cache, split, recipe, out, init=init, resume=resume, settings=settings, say=_say)
    _export(path, out / "model.onnx", cache)


@cli.command()
@click.argument("model")
@_data_options
@click.option("--split", "split_name", default="all", show_default=True, help=f"What is read: {_SPLITS}.")
@click.option("--head", "heads", multiple=True, help="Only this head (may be repeated).")
@click.option("--out", type=_PATH, required=True, help="Folder for index.html, metrics.json and predictions.csv.")
@click.option("--zooms", type=click.IntRange(min=0), default=500, show_default=True,
              help="Photographs that zoom value is measured on (0: not at all).")  # fmt: skip
def evaluate(
    model: str,
    data: Path,
    csv_file: Path | None,
    cache_folder: Path | None,
    split_name: str,
    heads: tuple[str, ...],
    out: Path,
    zooms: int,
) -> None:
    """Score every head of MODEL on labelled photographs.

    Where DIR/lesions.csv gives boxes of known lesions (image,x0,y0,x1,y1 in pixels of the upright photo), the
    report says how often the network looks at them.

    \b
    Example: leafzoom evaluate runs/first --data plant-pathology-2021 --split inner-report --out report
    """
    with needs_extra("train", "leafzoom evaluate"):
        from leafzoom.dataset.lesions import read_lesions
        from leafzoom.dataset.split import evaluation_images, known_split, read_split
        from leafzoom.evaluation.evaluate import evaluate as evaluate_network
        from leafzoom.evaluation.report import report
        from leafzoom.storage import make_folder
        from leafzoom.training.memory import keep_freed_memory

    from leafzoom.inference.model_file import open_network, run_folder, zooming_network

    keep_freed_memory()
    network = open_network(model, prefer="torch")
    make_folder(out)
    cache = _cache(data, csv_file, cache_folder, network.manifest.source_size)
    cache.table.require_clean()
    lesions = read_lesions(data, cache)
    run = run_folder(model)
    manifest = network.manifest
    stored = read_split(run / "split.json") if run else None
    images = evaluation_images(cache, split_name, stored, manifest.data.get("split_digest"))
    learned = known_split(cache, stored, manifest.data.get("split_digest"))
    overlap = len(set(images) & set(learned.train)) if learned else None
    selected = len(set(images) & set(learned.select)) if learned else None
    evaluation = evaluate_network(network, cache, images, heads)
    dataset = {
        "csv": cache.table.csv.name,
        "split": split_name,
        "photographs": len(images),
        "trained_on": overlap,
        "selected_on": selected,
        "table_digest": cache.table.digest(),
    }
    described = {
        "name": manifest.name,
        "path": model,
        "recipe": manifest.recipe.get("name"),
        "trained_on": manifest.data.get("trained_on"),
        "leafzoom": manifest.leafzoom_version,
    }
    zooming = zooming_network(model, network) if zooms else None
    film = run / "attention.gif" if run else None
    report(evaluation, cache, out, dataset, described, zooming=zooming, zooms=zooms, lesions=lesions, film=film)
    click.echo(
        f"{'head':<12} {'exact':>7} {'micro F1':>9} {'macro F1':>9} {'mAP':>7}   fitted: {'exact':>7} {'micro F1':>9}"
    )
    for head, plain in evaluation.heads.items():
        fitted = evaluation.heads_fitted[head]
        click.echo(
            f"{head:<12} {plain.exact_match:7.4f} {plain.micro.f1:9.4f} {plain.macro.f1:9.4f} {plain.map:7.4f}"
            f"           {fitted.exact_match:7.4f} {fitted.micro.f1:9.4f}"
        )
    click.echo(f"{len(images)} photographs ({split_name}); see {out / 'index.html'}")
    if overlap:
        _say(f"leafzoom: {overlap} of these photographs were trained on, so these figures flatter the model")
    if selected:
        _say(
            f"leafzoom: {selected} of these photographs chose the epoch and fitted thresholds and fusions, so these "
            "figures flatter the model"
        )


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=_PATH)
@click.option("--out", type=_PATH, required=True, help="Folder for index.html and compare.json.")
def compare(runs: tuple[Path, ...], out: Path) -> None:
    """Draw the paper's figures 7-12 over RUNS, with their final scores and paired differences to the first.

    \b
    Example: leafzoom compare runs/narrow-sigmoid runs/narrow-relu runs/paper --out comparison
    """
    with needs_extra("train", "leafzoom compare"):
        from leafzoom.evaluation.compare import compare_runs

    click.echo(f"see {compare_runs(list(runs), out)}")


@cli.command()
@click.argument("photos", nargs=-1, required=True, type=_PATH)
@click.option("--model", default="bundled", show_default=True, help="A run, an .onnx or .safetensors file.")
@click.option("--format", "form", default="table", show_default=True,
              type=click.Choice(["table", "json", "jsonl", "csv"]))  # fmt: skip
@click.option("--threshold", "thresholds", multiple=True, metavar="[LABEL=]X",
              help="From which probability on a label counts (may be repeated).")  # fmt: skip
@click.option("--early-exit", is_flag=True, help="Look closer only where the first look is not sure: faster.")
@click.option("--out", type=_PATH, help="Folder for pictures, a page, predictions.csv and .jsonl; resumable.")
def predict(
    photos: tuple[Path, ...], model: str, form: str, thresholds: tuple[str, ...], early_exit: bool, out: Path | None
) -> None:
    """Diagnose photos, or all photos in folders.

    \b
    Examples:
      leafzoom predict leaf.jpg --out diagnosis
      leafzoom predict orchard/ --model model.onnx --format csv > diagnoses.csv
    """
    from leafzoom.inference.console import diagnose_to_console

    if diagnose_to_console(photos, model, form, thresholds, out, early_exit=early_exit):
        sys.exit(1)


@cli.command()
@click.argument("run")
@click.option("--out", type=_PATH, required=True, help="The .onnx file.")
@click.option("--data", type=_PATH, help="Compare on 500 of these photographs, not on rendered leaves.")
@click.option("--half", is_flag=True, help="Round the weights to half precision first: half the file.")
def export(run: str, out: Path, data: Path | None, half: bool) -> None:
    """Write RUN's network as one .onnx file, compared with the checkpoint.

    \b
    Example: leafzoom export runs/first --out model.onnx
    """
    with needs_extra("train", "leafzoom export"):
        from leafzoom.inference.model_file import checkpoint_path
        from leafzoom.model.checkpoint import load_checkpoint

    if out.suffix != ".onnx" or out.is_dir():
        raise UsageError(f"--out {out} has to be a file that ends in .onnx")
    path = checkpoint_path(run)
    cache = None
    if data:
        cache = _cache(data, None, None, load_checkpoint(path).manifest.source_size)
        cache.table.require_clean()
    _export(path, out, cache, half=half)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free one.")
@click.option("--model", default="bundled", show_default=True, help="A run, an .onnx or .safetensors file.")
def serve(host: str, port: int, model: str) -> None:
    """Open a page for people and an API for programs, on this machine alone unless --host says otherwise.

    \b
    Example: leafzoom serve --port 8000
    """
    from leafzoom.serve.server import run_server

    run_server(model, host=host, port=port, say=click.echo)


@cli.command()
@click.argument("model", default="bundled")
def info(model: str) -> None:
    """Say what MODEL is: labels, thresholds, recipe, figures, licence.

    \b
    Example: leafzoom info runs/first
    """
    import json

    from leafzoom.inference.model_file import open_network

    manifest = open_network(model).manifest
    click.echo(f"{manifest.name}: format {manifest.format_version}, made by leafzoom {manifest.leafzoom_version}")
    click.echo(f"source {manifest.source_size} px, views {manifest.input_size} px, {manifest.scales} scales")
    decision = manifest.decisions[manifest.head]
    click.echo(f"labels, with the thresholds of {manifest.head}:")
    for name, threshold in zip(manifest.labels.names, decision.thresholds, strict=True):
        click.echo(f"  {name:<24} {threshold:.3f}")
    click.echo(f"{len(manifest.labels.combinations)} combinations of labels; temperature {decision.temperature:.3f}")
    if manifest.early_exit is not None:
        click.echo(f"--early-exit: the first look alone answers from a confidence of {manifest.early_exit:.2f} on")
    click.echo(f"data: {json.dumps(manifest.data)}")
    click.echo(f"recipe: {json.dumps(manifest.recipe)}")
    for part, heads in manifest.metrics.items():
        if part.startswith("inner"):
            for head, figures in heads.items():
                click.echo(f"{part} {head}: " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items()))
    click.echo(f"licence: {manifest.licence}")


def _cache(data: Path, csv_file: Path | None, folder: Path | None, source_size: int) -> Cache:
    """The cache of a data folder, built where it is not there yet."""
    with needs_extra("train", "reading labelled photographs"):
        from leafzoom.dataset.cache import build_cache, default_cache_folder
        from leafzoom.dataset.table import read_table

    table = read_table(data, csv_file)
    folder = folder or default_cache_folder(data, table.csv, source_size)
    return build_cache(table, folder, source_size, say=_say)


def _export(checkpoint: Path, out: Path, cache: Cache | None, *, half: bool = False) -> None:
    """Export a checkpoint, compared on photographs of a cache or on rendered leaves."""
    import numpy as np

    from leafzoom.dataset.synthetic import render_leaves
    from leafzoom.inference.export import export_onnx
    from leafzoom.model.checkpoint import load_checkpoint
    from leafzoom.storage import make_folder

    make_folder(out.parent)
    loaded = load_checkpoint(checkpoint)
    if half:
        loaded = loaded.in_half_precision()
    if cache is not None:
        rows = np.linspace(0, len(cache.sources) - 1, min(500, len(cache.sources))).astype(int)
        sources = np.asarray(cache.sources[rows])
    else:
        size = loaded.manifest.source_size
        sources = np.stack([leaf.pixels for leaf in render_leaves(32, size=size, seed=0)])
    found = export_onnx(loaded, out, sources)
    _say(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; on {found.photographs} photographs it differs from the "
        f"checkpoint by at most {found.probability:.1e} in probability and {found.box:.4f} px in boxes"
    )


if __name__ == "__main__":
    main()
