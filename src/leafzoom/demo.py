"""The newcomer's tour: rendered leaves, all stages of a training, evaluation, export, a diagnosis.

The kinds of lesions differ only in detail that scale 1 cannot resolve, so that zooming has to pay
here; `demo.json` holds by how much.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from leafzoom import __version__
from leafzoom.errors import TrainingError, needs_extra

with needs_extra("train", "leafzoom demo"):
    from leafzoom.dataset.cache import Cache, build_cache
    from leafzoom.dataset.lesions import read_lesions
    from leafzoom.dataset.split import Split, training_split
    from leafzoom.dataset.synthetic import write_leaves
    from leafzoom.dataset.table import read_table
    from leafzoom.evaluation.evaluate import Evaluation, evaluate
    from leafzoom.evaluation.report import write_report_files
    from leafzoom.evaluation.result_files import (
        DatasetDescription,
        FurtherMeasurements,
        ModelDescription,
    )
    from leafzoom.evaluation.zoom_value import ZoomValue, measure_zoom_value
    from leafzoom.inference.export import export_onnx
    from leafzoom.inference.network import OnnxNetwork
    from leafzoom.inference.prediction import Prediction
    from leafzoom.inference.predictor import Predictor
    from leafzoom.inference.torch_network import TorchNetwork
    from leafzoom.model_file.checkpoint import load_checkpoint
    from leafzoom.recipe import Recipe, load_recipe
    from leafzoom.storage import make_folder, write_json
    from leafzoom.training.run import train

__all__ = ["run_demo"]

_PHOTOGRAPHS = 1500
_COMPARED_SOURCES = 32


def run_demo(
    out: Path,
    *,
    seed: int,
    echo: Callable[[str], None],
    photographs: int = _PHOTOGRAPHS,
    changes: Sequence[str] = (),
) -> Path:
    """Run the whole system on rendered leaves.

    Args:
        out: a new folder; `leaves/`, `run/`, `report/`, `demo.json` and `diagnosis.png` are
            written there.
        seed: of the leaves and of the training.
        echo: prints a line for people.
        photographs: how many leaves are rendered.
        changes: `section.key=value` of the recipe `demo`.

    Returns:
        The picture of a diagnosis.

    Raises:
        LeafzoomError: `out` cannot be written, or holds a run already.
    """
    started = time.perf_counter()

    # A second demo must not continue or overwrite the first one's training.
    if (out / "run" / "run.json").exists():
        raise TrainingError(f"{out} holds a demo already: choose another folder with --out")
    make_folder(out)

    # All paths in one place: the lines that are printed name them.
    recipe = load_recipe("demo", [f"seed={seed}", *changes])
    leaves = out / "leaves"
    cache_folder = out / "cache"
    run = out / "run"
    page = out / "report" / "index.html"
    model = run / "model.onnx"
    picture = out / "diagnosis.png"

    echo(
        f"1/6 rendering {photographs} leaves, some with tiny spots of one kind or two, "
        f"into {leaves}"
    )
    write_leaves(leaves, photographs, size=recipe.data.source_size, seed=seed)

    echo(f"2/6 checking every picture and decoding it once, into {cache_folder}")
    table = read_table(leaves).require_clean()
    cache = build_cache(table, cache_folder, recipe.data.source_size)
    split = training_split(cache, "inner-train")

    echo(
        f"3/6 training all stages on {len(split.train)} leaves, validated on "
        f"{len(split.validation)}, into {run}"
    )
    checkpoint = train(cache, split, recipe, run, echo=lambda line: echo(f"    {line}"))

    echo(f"4/6 evaluating on {len(split.test)} leaves that no choice was based on, into {page}")
    evaluation, zoom = _evaluate(checkpoint, cache, split, recipe, leaves, page.parent)

    echo(f"5/6 exporting to {model}, compared with the checkpoint")
    export_onnx(load_checkpoint(checkpoint), model, cache.sources[:_COMPARED_SOURCES])

    echo(
        "6/6 diagnosing leaves with both kinds of spots; the first confident diagnosis "
        f"into {picture}"
    )
    prediction = _first_diagnosis(Predictor(OnnxNetwork(model)), cache, split)
    prediction.save(picture)

    # The figures, into a file and for people.
    seconds = time.perf_counter() - started
    _write_figures(evaluation, zoom, seconds, seed, out / "demo.json")
    _echo_figures(evaluation, zoom, echo)
    echo(f"Done in {seconds:.0f} s. Open {page}, and see {picture}: {prediction.summary}.")
    return picture


def _evaluate(
    checkpoint: Path, cache: Cache, split: Split, recipe: Recipe, leaves: Path, folder: Path
) -> tuple[Evaluation, ZoomValue]:
    """Evaluate a checkpoint on the test part, and write the report into a folder."""
    network = TorchNetwork(load_checkpoint(checkpoint))
    evaluation = evaluate(network, cache, split.test)

    # The rendered leaves come with the boxes of their lesions.
    lesions = read_lesions(leaves, cache)
    zoom = measure_zoom_value(network.network, evaluation, cache, lesions=lesions)

    # The report says that these are rendered leaves, not photographs.
    dataset = DatasetDescription(
        csv="rendered leaves",
        split="inner-report",
        photographs=len(split.test),
        seed=recipe.seed,
    )
    model = ModelDescription(
        name="demo",
        recipe=recipe.name,
        trained_on=len(split.train),
        leafzoom=__version__,
        film=checkpoint.parent / "attention.gif",
    )
    write_report_files(
        folder,
        evaluation,
        cache.table,
        dataset=dataset,
        model=model,
        further=FurtherMeasurements(zoom_value=zoom),
    )
    return evaluation, zoom


def _first_diagnosis(predictor: Predictor, cache: Cache, split: Split) -> Prediction:
    """The first diagnosis of a test leaf with several labels; of the first leaf if none is sure."""
    rows = cache.table.take(split.test).rows
    several_labels = [row for row in rows if len(row.labels) > 1]
    photos = [row.path for row in several_labels or rows]

    # The model may be sure of none, after so short a training.
    for photo in photos:
        prediction = predictor.predict(photo)
        if prediction.verdict == "diagnosis":
            return prediction
    return predictor.predict(photos[0])


def _write_figures(
    evaluation: Evaluation, zoom: ZoomValue, seconds: float, seed: int, path: Path
) -> None:
    """Write `demo.json`."""
    exact_match = {head: metrics.exact_match for head, metrics in evaluation.heads.items()}
    exact_match_fitted = {
        head: metrics.exact_match for head, metrics in evaluation.heads_fitted.items()
    }
    zoom_content = zoom.to_dict()
    write_json(
        path,
        {
            "seed": seed,
            "seconds": round(seconds, 1),
            "photographs": len(evaluation.image_names),
            "exact_match": exact_match,
            "exact_match_fitted": exact_match_fitted,
            "zoom_value": zoom_content["exact_match"],
            "pointing": zoom_content["pointing"],
            "pointing_intervals": zoom_content["pointing_intervals"],
            "pointing_photographs": zoom_content["pointing_photographs"],
        },
    )


def _echo_figures(evaluation: Evaluation, zoom: ZoomValue, echo: Callable[[str], None]) -> None:
    """Print how much zooming gains, and how often the zooms hit the lesions."""
    exact_match = {head: metrics.exact_match for head, metrics in evaluation.heads.items()}
    fused_head = evaluation.head
    echo(
        f"All labels right, first look alone: {exact_match['scale1']:.0%}; "
        f"all looks fused ({fused_head}): {exact_match[fused_head]:.0%}."
    )

    # What looking closer somewhere else would have given.
    by_boxes = [f"{kind} {scores[fused_head]:.0%}" for kind, scores in zoom.exact_match.items()]
    echo(f"The same classifiers with other boxes: {', '.join(by_boxes)}.")

    # Empty if no scored leaf has a known lesion.
    hit_rates = zoom.pointing.hit_rates
    if hit_rates:
        last_scale = next(reversed(hit_rates["learned"]))
        hits = [f"{kind} {scores[last_scale]:.0%}" for kind, scores in hit_rates.items()]
        echo(f"Boxes of {last_scale} whose centre lies on a lesion: {', '.join(hits)}.")
