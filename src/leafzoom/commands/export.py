"""`leafzoom export`: a run's network as one `.onnx` file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from leafzoom.commands.options import PATH, data_folder, echo_to_stderr, labelled_cache
from leafzoom.errors import UsageError, needs_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leafzoom.dataset.cache import Cache
    from leafzoom.model_file.checkpoint import Checkpoint

__all__ = ["export", "export_checkpoint"]

_MAX_COMPARED_PHOTOGRAPHS = 500
_RENDERED_LEAVES = 32


@click.command()
@click.argument("run")
@click.option("--out", type=PATH, required=True, help="The .onnx file.")
@click.option(
    "--data",
    type=PATH,
    help="Compare on 500 of these photographs, not on rendered leaves.",
)
@click.option(
    "--half",
    is_flag=True,
    help="Round the weights to half precision first: half the file.",
)
def export(run: str, out: Path, data: Path | None, half: bool) -> None:
    """Write RUN's network as one .onnx file, and compare the two.

    RUN is the folder of a finished run, or its model.safetensors.

    \b
    Example: leafzoom export runs/first --out model.onnx
    """
    with needs_extra("train", "leafzoom export"):
        from leafzoom.model_file.checkpoint import load_checkpoint
        from leafzoom.model_file.paths import checkpoint_path

    # A name that cannot be written is refused before the checkpoint is read.
    if out.suffix != ".onnx" or out.is_dir():
        raise UsageError(f"--out {out} has to be a file that ends in .onnx")

    # The sources to compare on have to be of the size that the model reads.
    path = checkpoint_path(run)
    cache = None
    if data:
        source_size = load_checkpoint(path).manifest.source_size
        folder, table = data_folder(data, None)
        cache = labelled_cache(folder, table, None, source_size)
        cache.table.require_clean()

    export_checkpoint(path, out, cache, half=half)


def export_checkpoint(path: Path, out: Path, cache: Cache | None, *, half: bool = False) -> None:
    """Export a checkpoint, compared on photographs of a cache or on rendered leaves.

    Args:
        path: of the checkpoint.
        out: the `.onnx` file; its folder is made if it does not exist.
        cache: of the photographs to compare on; None for rendered leaves.
        half: round the weights to half precision first.

    Raises:
        ModelError: the checkpoint cannot be read, or the exported model differs from it.
    """
    from leafzoom.inference.export import export_onnx
    from leafzoom.model_file.checkpoint import load_checkpoint
    from leafzoom.storage import make_folder

    make_folder(out.parent)
    checkpoint = load_checkpoint(path)
    if half:
        checkpoint = checkpoint.in_half_precision()

    # With --half, it is the rounded weights that are compared.
    sources = _compared_sources(checkpoint, cache)
    parity = export_onnx(checkpoint, out, sources)

    megabytes = out.stat().st_size / 1e6
    echo_to_stderr(
        f"{out}: {megabytes:.1f} MB; on {parity.photographs} photographs it differs from the "
        f"checkpoint by at most {parity.probability:.1e} in probability and "
        f"{parity.box_px:.4f} px in boxes"
    )


def _compared_sources(checkpoint: Checkpoint, cache: Cache | None) -> NDArray[np.uint8]:
    """Up to 500 photographs spread over a cache, or 32 rendered leaves: uint8 [N, S, S, 3]."""
    import numpy as np

    from leafzoom.dataset.synthetic import render_leaves

    if cache is not None:
        count = len(cache.sources)

        # Spread over the table, whose order may follow the labels.
        rows = np.linspace(0, count - 1, min(_MAX_COMPARED_PHOTOGRAPHS, count)).astype(int)
        return np.asarray(cache.sources[rows])

    leaves = render_leaves(_RENDERED_LEAVES, size=checkpoint.manifest.source_size, seed=0)
    return np.stack([leaf.pixels for leaf in leaves])
