"""Do Label Studio's and FiftyOne's own libraries read what `leafzoom review` exports?

    python -m tools.review_exports OUT

OUT is the folder of a review. Needs the libraries `label-studio-sdk` and `fiftyone`, in an
environment of their own; FiftyOne's database is not needed. Writes results/review-exports.json.
"""

from __future__ import annotations

import argparse
import copy
import json
from importlib import metadata
from pathlib import Path
from typing import Any

from leafzoom import __version__
from tools.provenance import ROOT, commit, machine

__all__ = ["main"]

_RESULT = ROOT / "results" / "review-exports.json"


def main() -> None:
    """Open both exports and write what was read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()

    result = {
        "command": "python -m tools.review_exports OUT",
        "commit": commit("src", "tools"),
        "leafzoom": __version__,
        "machine": machine(),
        "label_studio": _open_in_label_studio(arguments.out),
        "fiftyone": _open_in_fiftyone(arguments.out / "fiftyone"),
    }
    _RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def _open_in_label_studio(folder: Path) -> dict[str, Any]:
    """Validate the interface, the tasks and the predictions; wrong ones have to be refused.

    Raises:
        SystemExit: something is refused, or something wrong is not.
    """
    from label_studio_sdk.label_interface import LabelInterface

    interface = LabelInterface((folder / "label-studio.xml").read_text(encoding="utf-8"))
    interface.validate()
    tasks = json.loads((folder / "label-studio.json").read_text(encoding="utf-8"))

    predictions = 0
    boxes = 0
    for task in tasks:
        if not interface.validate_task({"data": task["data"]}):
            raise SystemExit(f"Label Studio refuses the task of {task['data']['image_name']}")
        for prediction in task["predictions"]:
            errors = interface.validate_prediction(prediction, return_errors=True)
            if errors:
                raise SystemExit(f"Label Studio refuses a prediction: {errors}")
            predictions += 1
            types = [result["type"] for result in prediction["result"]]
            boxes += types.count("rectanglelabels")

    for wrong in _wrong_predictions(tasks):
        if interface.validate_prediction(wrong):
            raise SystemExit("Label Studio accepts an unknown label or a box outside the photo")
    return {
        "label_studio_sdk": metadata.version("label-studio-sdk"),
        "tasks": len(tasks),
        "predictions": predictions,
        "boxes": boxes,
    }


def _wrong_predictions(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first prediction with boxes, with an unknown label, and with a box outside."""
    predictions = [prediction for task in tasks for prediction in task["predictions"]]
    good = next(prediction for prediction in predictions if len(prediction["result"]) > 1)

    unknown = copy.deepcopy(good)
    unknown["result"][0]["value"]["choices"] = ["no such label"]
    outside = copy.deepcopy(good)
    outside["result"][-1]["value"]["x"] = 140
    return [unknown, outside]


def _open_in_fiftyone(folder: Path) -> dict[str, Any]:
    """Read all samples with the importer that FiftyOne takes for its own datasets."""
    import fiftyone
    from fiftyone.utils.data import importers

    importer_class = fiftyone.types.FiftyOneDataset().get_dataset_importer_cls()
    importer = importers._handle_legacy_formats(importer_class(str(folder)))
    fields: set[str] = set()
    detections = 0
    missing = 0
    with importer:
        samples = list(importer)
    for sample in samples:
        fields.update(sample.field_names)
        detections += len(sample["zooms"].detections)
        missing += not Path(sample.filepath).is_file()

    if missing:
        raise SystemExit(f"{missing} photos of the dataset are not where it says")
    return {
        "fiftyone": metadata.version("fiftyone"),
        "importer": type(importer).__name__,
        "samples": len(samples),
        "detections": detections,
        "fields": sorted(fields),
    }


if __name__ == "__main__":
    main()
