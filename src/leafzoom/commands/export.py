"""`leafzoom export`: a run's network as one `.onnx` file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from leafzoom.commands.options import PATH, data_folder, echo_to_stderr, labelled_cache
from leafzoom.errors import UsageError, needs_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from leafzoom.dataset.cache import Cache
    from leafzoom.inference.export import Parity
    from leafzoom.model_file.checkpoint import Checkpoint

__all__ = ["export", "export_checkpoint"]

_MAX_COMPARED_PHOTOGRAPHS = 500
_RENDERED_LEAVES = 32


@click.command()
@click.argument("run")
@click.option("--out", type=PATH, help="The .onnx file.")
@click.option(
    "--web",
    type=PATH,
    metavar="DIR",
    help="Write the page as an app that diagnoses on the phone: a folder for an HTTPS host.",
)
@click.option(
    "--runtime",
    type=PATH,
    metavar="FILE",
    help="ONNX Runtime Web for --web: the file that npm pack has written.",
)
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
@click.option(
    "--int8",
    is_flag=True,
    help="Compute in eight-bit integers, fitted to 128 photographs of --data: smaller, faster.",
)
def export(
    run: str,
    out: Path | None,
    web: Path | None,
    runtime: Path | None,
    data: Path | None,
    half: bool,
    int8: bool,
) -> None:
    """Write RUN's network as one .onnx file, and compare the two.

    RUN is the folder of a finished run, its model.safetensors, or bundled (the model in the
    package).

    With --web, write the page with an exported model (RUN, its model.onnx, or any .onnx file of
    leafzoom) as an app that works without a network.

    \b
    Examples:
      leafzoom export runs/first --out model.onnx
      leafzoom export bundled --int8 --data leaves --out small.onnx
      leafzoom export bundled --web app --runtime onnxruntime-web-1.30.0.tgz
    """
    if web is not None:
        if out is not None or data is not None or half or int8:
            raise UsageError(
                "--web writes an exported model as it is: it goes with --runtime alone"
            )
        _export_web(run, web, runtime)
        return
    if out is None:
        raise UsageError("name the file to write by --out, or a folder for the app by --web")
    if runtime is not None:
        raise UsageError("--runtime goes with --web alone")

    _export_file(run, out, data, half=half, int8=int8)


def _export_web(model: str, folder: Path, runtime: Path | None) -> None:
    """Write the app with a model.

    Raises:
        ModelError, UsageError, LeafzoomError: as `write_web_folder`.
    """
    from leafzoom.model_file.paths import model_path
    from leafzoom.web.folder import write_web_folder
    from leafzoom.web.runtime import runtime_path

    path = model_path(model)
    if path.suffix != ".onnx":
        raise UsageError(
            f"--web needs an exported model, and {path} is none: write one with --out first"
        )
    sizes = write_web_folder(path, folder, runtime or runtime_path())
    megabytes = sum(sizes.values()) / 1e6
    echo_to_stderr(
        f"{folder}: {len(sizes)} files, {megabytes:.1f} MB; any HTTPS host serves them as they are"
    )


def _export_file(run: str, out: Path, data: Path | None, *, half: bool, int8: bool) -> None:
    """Export a run to an .onnx file.

    Raises:
        ModelError, UsageError: see `export_checkpoint`; a name that cannot be written.
    """
    with needs_extra("train", "leafzoom export"):
        from leafzoom.model_file.checkpoint import load_checkpoint
        from leafzoom.model_file.paths import checkpoint_path

    # A name that cannot be written is refused before the checkpoint is read.
    if out.suffix != ".onnx" or out.is_dir():
        raise UsageError(f"--out {out} has to be a file that ends in .onnx")
    if int8 and data is None:
        raise UsageError(
            "--int8 needs --data, a folder of photographs like those that the model will see: "
            "their values tell how the integers are scaled"
        )

    # The sources to compare on have to be of the size that the model reads.
    path = checkpoint_path(run)
    cache = None
    if data:
        source_size = load_checkpoint(path).manifest.source_size
        folder, table = data_folder(data, None)
        cache = labelled_cache(folder, table, None, source_size)
        cache.table.require_clean()

    if int8 and cache is not None:
        _export_int8(path, out, cache, half=half)
    else:
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
    from leafzoom.storage import make_folder

    make_folder(out.parent)
    checkpoint = _read_checkpoint(path, half=half)
    parity = export_onnx(checkpoint, out, _compared_sources(checkpoint, cache))

    megabytes = out.stat().st_size / 1e6
    echo_to_stderr(
        f"{out}: {megabytes:.1f} MB; on {parity.photographs} photographs it differs from the "
        f"checkpoint by at most {parity.probability:.1e} in probability and "
        f"{parity.box_px:.4f} px in boxes{_jumps_text(parity)}"
    )


def _jumps_text(parity: Parity) -> str:
    """On how many photographs a part of an MA-CNN has two peaks; "" on none."""
    if not parity.jumps:
        return ""
    return f" (on {parity.jumps} of them a part has two places of equal attention)"


def _read_checkpoint(path: Path, *, half: bool) -> Checkpoint:
    """The checkpoint to export; with `half` its rounded weights, which are compared too."""
    from leafzoom.model_file.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    return checkpoint.in_half_precision() if half else checkpoint


def _export_int8(path: Path, out: Path, cache: Cache, *, half: bool) -> None:
    """Export a checkpoint, and write the export in eight-bit integers.

    Raises:
        ModelError: as `export_checkpoint`.
    """
    from leafzoom.inference.export import export_onnx
    from leafzoom.inference.network import OnnxNetwork
    from leafzoom.inference.quantization import CALIBRATION_PHOTOGRAPHS, same_answers, write_int8
    from leafzoom.storage import make_folder

    make_folder(out.parent)
    calibration = _spread_sources(cache, CALIBRATION_PHOTOGRAPHS)
    compared = _spread_sources(cache, _MAX_COMPARED_PHOTOGRAPHS)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "model.onnx"
        checkpoint = _read_checkpoint(path, half=half)
        export_onnx(checkpoint, exported, _compared_sources(checkpoint, cache))
        write_int8(exported, out, calibration)
        same = same_answers(OnnxNetwork(exported), OnnxNetwork(out), compared)
        share_of_size = out.stat().st_size / exported.stat().st_size

    megabytes = out.stat().st_size / 1e6
    echo_to_stderr(
        f"{out}: {megabytes:.1f} MB in eight-bit integers, {share_of_size:.0%} of what it has "
        f"without --int8; on {len(compared)} photographs {same:.1%} get the same labels"
    )


def _compared_sources(checkpoint: Checkpoint, cache: Cache | None) -> NDArray[np.uint8]:
    """Up to 500 photographs spread over a cache, or 32 rendered leaves: uint8 [N, S, S, 3]."""
    import numpy as np

    from leafzoom.dataset.synthetic import render_leaves

    if cache is not None:
        return _spread_sources(cache, _MAX_COMPARED_PHOTOGRAPHS)

    leaves = render_leaves(_RENDERED_LEAVES, size=checkpoint.manifest.source_size, seed=0)
    return np.stack([leaf.pixels for leaf in leaves])


def _spread_sources(cache: Cache, limit: int) -> NDArray[np.uint8]:
    """At most so many photographs, spread over the table, whose order may follow the labels."""
    import numpy as np

    count = len(cache.sources)
    rows = np.linspace(0, count - 1, min(limit, count)).astype(int)
    return np.asarray(cache.sources[rows])
