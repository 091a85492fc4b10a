"""Teach a model's out-of-distribution detector what is no apple leaf:
python -m tools.outliers DATA --other KIND=FOLDER... [--model M] --out MODEL.onnx

Leaves are the photographs of `inner-validation` as they are, and photographs of `inner-train`
changed as `tools.cutouts` changes them. The other pictures are those below the folders, one of each
group of near-duplicates. Fits the outlier detector, writes the model again with it, and writes
results/outliers.json: for each kind of picture what a detector does that saw no picture of this
kind, which is what a user's new kind of picture will meet (its penalty was chosen once, by what
passes of kinds that were left out). Needs the photographs and takes some
twenty minutes.

--apart KIND=FOLDER: apple leaves from elsewhere; measured, never fitted. --leaves FOLDER: such
leaves that the model was trained on; fitted as leaves.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.sources import sources_to_images
from leafzoom.fitting.outlier_detector import OutlierFit, fit_outlier_detector
from leafzoom.inference.export import export_onnx
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import Network
from leafzoom.inference.verdict import selective_predictions
from leafzoom.model.build import network_from_checkpoint, network_tensors
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model.mirrors import tta_images, tta_mean
from leafzoom.model.ood_detector import OutlierDetector, outlier_features
from leafzoom.model.pretrained import initial_checkpoint
from leafzoom.model_file.checkpoint import Checkpoint
from leafzoom.model_file.manifest import PICTURES_KEY
from leafzoom.storage import write_json
from tools.cutouts import varied_leaves
from tools.evaluation_data import in_grey, open_data, read_part
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit
from tools.verdicts import read_pictures

__all__ = ["main", "parser"]

_VARIED_PHOTOGRAPHS = 1200
_PARITY_PHOTOGRAPHS = 200
_BATCH_SIZE = 16
_COMPETITION_STEP = 3  # every third leaf of the validation part shows its verdicts
_SEED = 0

Sources = NDArray[np.uint8]
Features = NDArray[np.float32]


def main() -> None:
    """Fit, export, describe."""
    arguments = parser().parse_args()
    checkpoint = initial_checkpoint(arguments.model)
    network = network_from_checkpoint(checkpoint)
    source_size = checkpoint.manifest.source_size
    cache = open_data(arguments.data, source_size)

    # Pictures of all kinds, and the leaves.
    others = _read_folders(arguments.other, source_size)
    apart = _read_folders(arguments.apart, source_size)
    leaves = read_part(cache, "inner-validation", checkpoint.manifest)
    elsewhere = [read_pictures(folder, source_size).sources for folder in arguments.leaves]
    varied = _varied_sources(cache, checkpoint, list(others.values()))
    varied = np.concatenate([varied, *elsewhere])

    # The detector.
    read_features = _FeatureReader(network, source_size)
    features = {kind: read_features(sources) for kind, sources in others.items()}
    leaf_features = read_features(leaves.sources)
    varied_features = read_features(varied)
    fit = _fit(leaf_features, varied_features, features)

    # Every kind's verdicts from a detector without it, with the model as it was otherwise.
    old_network = open_network(str(checkpoint.path))
    figures = {}
    for kind, sources in others.items():
        detector = fit.detector
        if len(others) > 1:
            rest = {name: values for name, values in features.items() if name != kind}
            detector = _fit(leaf_features, varied_features, rest, fit.strength).detector
        figures[kind] = asdict(_verdicts(old_network, detector, sources, features[kind]))

    # Leaves that the detector has not seen, and their grey copies.
    measured = {"competition": leaves.sources[::_COMPETITION_STEP], **apart}
    measured |= {f"{kind}, in grey": in_grey(sources) for kind, sources in measured.items()}
    for kind, sources in measured.items():
        own_features = read_features(sources)
        figures[kind] = asdict(_verdicts(old_network, fit.detector, sources, own_features))

    # The model with its new detector, and the figures.
    network.outlier_detector = fit.detector
    manifest = checkpoint.manifest
    metrics = {**manifest.metrics, PICTURES_KEY: figures}
    described = replace(checkpoint, manifest=replace(manifest, metrics=metrics))
    _export(described, network, cache, arguments.out)
    _write_result(arguments, checkpoint, fit, figures, len(varied))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.outliers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("data", type=Path)
    options.add_argument("--other", action="append", required=True, metavar="KIND=FOLDER")
    options.add_argument("--apart", action="append", default=[], metavar="KIND=FOLDER")
    options.add_argument("--leaves", action="append", default=[], type=Path, metavar="FOLDER")
    options.add_argument("--model", default="bundled")
    options.add_argument("--out", type=Path, required=True, help="the model with its new detector")
    options.add_argument("--result", type=Path, default=ROOT / "results" / "outliers.json")

    return options


@dataclass(frozen=True)
class _Verdicts:
    """Shares of the verdicts on pictures of one kind."""

    pictures: int
    not_a_leaf: float
    unsure: float
    diagnosed: float


def _read_folders(options: Sequence[str], source_size: int) -> dict[str, Sources]:
    """The pictures of KIND=FOLDER options by kind."""
    pictures = {}
    for option in options:
        kind, _, folder = option.partition("=")
        pictures[kind] = read_pictures(Path(folder), source_size).sources
        print(f"{kind}: {len(pictures[kind])} pictures")
    return pictures


def _varied_sources(cache: Cache, checkpoint: Checkpoint, others: Sequence[Sources]) -> Sources:
    """Changed photographs of `inner-train`, spread over all of it, on grounds from the others."""
    part = read_part(cache, "inner-train", checkpoint.manifest)
    rows = np.linspace(0, len(part) - 1, min(_VARIED_PHOTOGRAPHS, len(part))).astype(int)
    grounds = np.concatenate(others)
    return np.stack(list(varied_leaves(list(part.sources[rows]), list(grounds), _SEED)))


class _FirstScale(nn.Module):
    """From uint8 sources [N, S, S, 3] to what the outlier detector reads, [N, W]."""

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor) -> Tensor:
        """Features of the first scale, means over the mirror images."""
        racnn = self.network.racnn
        images = racnn.normalise(sources_to_images(source, racnn.mean.dtype))
        state = racnn.start(tta_images(images, self.network.tta))
        return tta_mean(outlier_features(racnn, state), self.network.tta)


class _FeatureReader:
    """The first scale in ONNX Runtime, several times as fast on a CPU as in PyTorch."""

    def __init__(self, network: FusedNetwork, source_size: int) -> None:
        example = torch.zeros(2, source_size, source_size, 3, dtype=torch.uint8)
        program = torch.onnx.export(
            _FirstScale(network).eval(),
            (example,),
            dynamo=True,
            input_names=["source"],
            dynamic_shapes=({0: torch.export.Dim("photographs", min=1, max=4096)},),
        )
        assert program is not None
        content = program.model_proto.SerializeToString()
        self._session = onnxruntime.InferenceSession(content)

    def __call__(self, sources: Sources) -> Features:
        """The features [n, W] of sources uint8 [n, S, S, 3]."""
        features = []
        for start in range(0, len(sources), _BATCH_SIZE):
            batch = np.ascontiguousarray(sources[start : start + _BATCH_SIZE])
            features.append(self._session.run(None, {"source": batch})[0])
        return np.concatenate(features)


def _fit(
    leaves: Features,
    varied: Features,
    others: Mapping[str, Features],
    strength: float | None = None,
) -> OutlierFit:
    """The detector of these kinds of other pictures."""
    kinds = [kind for kind, features in others.items() for _ in features]
    pictures = np.concatenate(list(others.values()))
    fit = fit_outlier_detector(leaves, varied, pictures, kinds, _SEED, strength)
    if fit is None:
        raise SystemExit("too few leaves or too few other pictures: 20 of each are needed")
    return fit


def _verdicts(
    network: Network, detector: OutlierDetector, sources: Sources, features: Features
) -> _Verdicts:
    """The verdicts that the network gives with this outlier detector beside its density."""
    outlier_scores = detector(torch.from_numpy(features)).numpy()

    # A picture that this detector refuses needs no more looks.
    accepted = sources[outlier_scores <= 1]
    verdicts: list[str] = ["not_a_leaf"] * (len(sources) - len(accepted))
    for start in range(0, len(accepted), _BATCH_SIZE):
        arrays = network(np.ascontiguousarray(accepted[start : start + _BATCH_SIZE]))
        predictions = selective_predictions(arrays, network.manifest)
        verdicts += [prediction.verdict for prediction in predictions]

    shares = {name: verdicts.count(name) / len(verdicts) for name in sorted(set(verdicts))}
    return _Verdicts(
        pictures=len(verdicts),
        not_a_leaf=shares.get("not_a_leaf", 0.0),
        unsure=shares.get("unsure", 0.0),
        diagnosed=shares.get("diagnosis", 0.0),
    )


def _export(checkpoint: Checkpoint, network: FusedNetwork, cache: Cache, path: Path) -> None:
    """Write the network as ONNX, in half precision, compared with itself on some photographs."""
    changed = replace(checkpoint, tensors=network_tensors(network)).in_half_precision()
    rows = np.linspace(0, len(cache.sources) - 1, _PARITY_PHOTOGRAPHS).astype(int)
    print(export_onnx(changed, path, np.asarray(cache.sources[rows])))


def _write_result(
    arguments: argparse.Namespace,
    checkpoint: Checkpoint,
    fit: OutlierFit,
    figures: dict[str, dict[str, float]],
    varied: int,
) -> None:
    """Write results/outliers.json."""
    folders = [f"--other {option.partition('=')[0]}=…" for option in arguments.other]
    folders += [f"--apart {option.partition('=')[0]}=…" for option in arguments.apart]
    folders += [f"--leaves {folder.name}" for folder in arguments.leaves]
    kinds = {option.partition("=")[0] for option in arguments.other}
    result = {
        "name": "outliers",
        "model": checkpoint.manifest.name,
        "note": "each kind by a detector that was fitted without it; leaves and their grey copies "
        "by the detector that ships",
        "command": f"python -m tools.outliers DATA {' '.join(folders)} --out MODEL.onnx",
        "commit": commit(),
        "model_digest": model_digest(arguments.out),
        "strength": fit.strength,
        "refused_leaves_out_of_fold": fit.refused_leaves,
        "varied_leaves": varied,
        "kinds": {kind: {**values, "left_out": kind in kinds} for kind, values in figures.items()},
    }
    write_json(arguments.result, result)
    for kind, values in figures.items():
        print(kind, values)


if __name__ == "__main__":
    main()
