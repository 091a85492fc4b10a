"""The newcomer's tour: rendered leaves, all stages of a training, evaluation, export, a diagnosis.

The leaves' kind of lesion shows only in detail that the first look cannot see, so that here looking closer has to
pay: `demo.json` holds by how much.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from leafzoom import __version__
from leafzoom.errors import TrainingError, needs_extra

with needs_extra("train", "leafzoom demo"):
    from leafzoom.dataset.cache import build_cache
    from leafzoom.dataset.lesions import read_lesions
    from leafzoom.dataset.split import training_split
    from leafzoom.dataset.synthetic import write_leaves
    from leafzoom.dataset.table import read_table
    from leafzoom.evaluation.evaluate import Evaluation, evaluate
    from leafzoom.evaluation.report import report
    from leafzoom.evaluation.zoom_value import ZoomValue
    from leafzoom.inference.export import export_onnx
    from leafzoom.inference.formats import summary
    from leafzoom.inference.network import OnnxNetwork
    from leafzoom.inference.predictor import Predictor
    from leafzoom.inference.torch_network import TorchNetwork
    from leafzoom.model.checkpoint import load_checkpoint
    from leafzoom.recipe import load_recipe
    from leafzoom.storage import make_folder, write_json
    from leafzoom.training.run import train

__all__ = ["run_demo"]

_PHOTOGRAPHS = 1500


def run_demo(
    out: Path,
    *,
    seed: int,
    say: Callable[[str], None],
    photographs: int = _PHOTOGRAPHS,
    changes: Sequence[str] = (),
) -> Path:
    """Run the whole system on rendered leaves.

    Args:
        out: a new folder; `leaves/`, `run/`, `report/`, `demo.json` and `diagnosis.png` are written there.
        seed: of the leaves and of the training.
        say: prints a line for people.
        photographs: how many leaves are rendered.
        changes: `section.key=value` of the recipe `demo`.

    Returns:
        The picture of a diagnosis.

    Raises:
        LeafzoomError: `out` cannot be written, or holds a run already.
    """
    started = time.perf_counter()
    if (out / "run" / "run.json").exists():
        raise TrainingError(f"{out} holds a demo already: choose another folder with --out")
    make_folder(out)
    recipe = load_recipe("demo", [f"seed={seed}", *changes])
    leaves, run, page = out / "leaves", out / "run", out / "report" / "index.html"

    say(f"1/6 rendering {photographs} leaves, some with tiny spots of one kind or two, into {leaves}")
    write_leaves(leaves, photographs, size=recipe.data.source_size, seed=seed)

    say(f"2/6 checking every picture and decoding it once, into {out / 'cache'}")
    cache = build_cache(read_table(leaves).require_clean(), out / "cache", recipe.data.source_size)
    split = training_split(cache, "inner-train")

    say(f"3/6 training all stages into {run}: {len(split.train)} leaves learn, {len(split.select)} choose")
    checkpoint = train(cache, split, recipe, run, say=lambda line: say(f"    {line}"))

    say(f"4/6 evaluating on {len(split.report)} leaves that nothing was chosen on, into {page}")
    network = TorchNetwork(load_checkpoint(checkpoint))
    evaluation = evaluate(network, cache, split.report)
    zoom = report(
        evaluation,
        cache,
        page.parent,
        {"csv": "rendered leaves", "split": "inner-report", "photographs": len(split.report), "seed": seed},
        {"name": "demo", "recipe": recipe.name, "trained_on": len(split.train), "leafzoom": __version__},
        zooming=network.network,
        lesions=read_lesions(leaves, cache),
        film=run / "attention.gif",
    )
    assert zoom is not None  # a network was given

    say(f"5/6 exporting to {run / 'model.onnx'}, compared with the checkpoint")
    export_onnx(load_checkpoint(checkpoint), run / "model.onnx", cache.sources[:32])

    mixed = [row.image for row in cache.table.take(split.report).rows if len(row.labels) > 1]
    photos, picture = [leaves / "train_images" / image for image in mixed or split.report], out / "diagnosis.png"
    say(f"6/6 diagnosing leaves with both kinds of spots; the first that it is sure of into {picture}")
    predictor = Predictor(OnnxNetwork(run / "model.onnx"))
    sure = (prediction for prediction in map(predictor, photos) if prediction.verdict == "diagnosis")
    prediction = next(sure, None) or predictor(photos[0])
    prediction.save(picture)
    seconds = time.perf_counter() - started
    _conclude(evaluation, zoom, seconds, seed, out / "demo.json", say)
    say(f"Done in {seconds:.0f} s. Open {page}, and see {picture}: {summary(prediction.to_dict())}.")
    return picture


def _conclude(
    evaluation: Evaluation, zoom: ZoomValue, seconds: float, seed: int, path: Path, say: Callable[[str], None]
) -> None:
    """Say and write what looking closer was worth."""
    exact = {head: metrics.exact_match for head, metrics in evaluation.heads.items()}
    last = next(reversed(exact))
    deepest = next(reversed(zoom.pointing["learned"])) if zoom.pointing else ""
    write_json(
        path,
        {
            "seed": seed,
            "seconds": round(seconds, 1),
            "photographs": len(evaluation.images),
            "exact_match": exact,
            "exact_match_fitted": {head: m.exact_match for head, m in evaluation.heads_fitted.items()},
            "zoom_value": zoom.exact_match,
            "pointing": zoom.pointing,
            "pointing_intervals": zoom.pointing_intervals,
            "pointing_photographs": zoom.pointing_photographs,
        },
    )
    say(f"All labels right, first look alone: {exact['scale1']:.0%}; all looks fused ({last}): {exact[last]:.0%}.")
    boxes = ", ".join(f"{kind} {scores[last]:.0%}" for kind, scores in zoom.exact_match.items())
    say(f"The same classifiers with other boxes: {boxes}.")
    if deepest:
        hits = ", ".join(f"{kind} {scores[deepest]:.0%}" for kind, scores in zoom.pointing.items())
        say(f"Boxes of {deepest} whose centre lies on a lesion: {hits}.")
