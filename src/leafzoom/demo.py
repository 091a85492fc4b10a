"""The newcomer's tour: rendered leaves, all stages of a training, evaluation, export, a diagnosis."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from leafzoom import __version__
from leafzoom.errors import TrainingError, needs_extra

with needs_extra("train", "leafzoom demo"):
    from leafzoom.dataset.cache import build_cache
    from leafzoom.dataset.split import training_split
    from leafzoom.dataset.synthetic import write_leaves
    from leafzoom.dataset.table import read_table
    from leafzoom.evaluation.evaluate import evaluate
    from leafzoom.evaluation.report import report
    from leafzoom.inference.export import export_onnx
    from leafzoom.inference.network import OnnxNetwork
    from leafzoom.inference.predictor import Predictor
    from leafzoom.inference.torch_network import TorchNetwork
    from leafzoom.model.checkpoint import load_checkpoint
    from leafzoom.recipe import load_recipe
    from leafzoom.storage import make_folder
    from leafzoom.training.run import train

__all__ = ["run_demo"]

_PHOTOGRAPHS = 400


def run_demo(out: Path, *, seed: int, say: Callable[[str], None], photographs: int = _PHOTOGRAPHS) -> Path:
    """Run the whole system on rendered leaves.

    Args:
        out: a new folder; `leaves/`, `run/`, `report/` and `diagnosis.png` are written there.
        seed: of the leaves and of the training.
        say: prints a line for people.
        photographs: how many leaves are rendered.

    Returns:
        The picture of a diagnosis.

    Raises:
        LeafzoomError: `out` cannot be written, or holds a run already.
    """
    started = time.perf_counter()
    if (out / "run" / "run.json").exists():
        raise TrainingError(f"{out} holds a demo already: choose another folder with --out")
    make_folder(out)
    recipe = load_recipe("demo", [f"seed={seed}"])
    leaves, run, reported = out / "leaves", out / "run", out / "report"
    say(f"1/6 rendering {photographs} leaves into {leaves}")
    write_leaves(leaves, photographs, size=recipe.data.source_size, seed=seed)
    say(f"2/6 checking and decoding them into {out / 'cache'}")
    cache = build_cache(read_table(leaves).require_clean(), out / "cache", recipe.data.source_size)
    split = training_split(cache, "inner-train")
    say(f"3/6 training all stages into {run}: {len(split.train)} leaves learn, {len(split.select)} choose")
    checkpoint = train(cache, split, recipe, run, say=say)
    say(f"4/6 exporting to {run / 'model.onnx'}, compared with the checkpoint")
    export_onnx(load_checkpoint(checkpoint), run / "model.onnx", cache.sources[:32])
    say(f"5/6 evaluating on {len(split.report)} leaves that nothing was chosen on, into {reported / 'index.html'}")
    network = TorchNetwork(load_checkpoint(checkpoint))
    evaluation = evaluate(network, cache, split.report)
    dataset = {"csv": "rendered leaves", "split": "inner-report", "photographs": len(split.report), "seed": seed}
    described = {"name": "demo", "recipe": recipe.name, "trained_on": len(split.train), "leafzoom": __version__}
    report(evaluation, cache, reported, dataset, described, zooming=network.network)
    for head, metrics in evaluation.heads.items():
        say(f"    {head:<10} exact match {metrics.exact_match:.3f}, micro F1 {metrics.micro.f1:.3f}")
    photo, picture = leaves / "train_images" / split.report[-1], out / "diagnosis.png"
    say(f"6/6 diagnosing {photo} into {picture}")
    prediction = Predictor(OnnxNetwork(run / "model.onnx"))(photo)
    prediction.save(picture)
    say(f"    it says {', '.join(prediction.labels)}; done in {time.perf_counter() - started:.0f} s")
    return picture
