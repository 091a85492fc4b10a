"""`leafzoom predict`: diagnoses on standard output, and into a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from leafzoom.errors import UsageError
from leafzoom.inference.folder import diagnose_into
from leafzoom.inference.formats import write_records
from leafzoom.inference.model_file import model_path, open_network
from leafzoom.inference.predictor import Predictor, iter_photos
from leafzoom.storage import make_folder, sha256_of

__all__ = ["diagnose_to_console"]


def diagnose_to_console(
    photos: Sequence[Path],
    model: str,
    form: str,
    thresholds: Sequence[str],
    out: Path | None,
    *,
    early_exit: bool = False,
) -> int:
    """Diagnose photos and folders, and write what is found to standard output.

    Args:
        photos: files and folders.
        model: see `open_network`.
        form: see `write_records`.
        thresholds: each `X` or `LABEL=X`.
        out: a folder for pictures, a page and tables as well.
        early_exit: see `Predictor`.

    Returns:
        How many photos could not be read.
    """
    if out:
        make_folder(out)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name that the terminal cannot show
    count = sum(1 for _ in iter_photos(photos, but_not=out))
    network = open_network(model)
    labels = network.manifest.labels.names
    predictor = Predictor(network, thresholds=_thresholds(thresholds, labels), early_exit=early_exit)
    failures = 0

    def noted(results: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        nonlocal failures
        for result in results:
            failures += "error" in result
            if "error" in result and form == "table":
                print(f"leafzoom: {result['error']}", file=sys.stderr)
            yield result

    shown = count > 1 and (out or not sys.stdout.isatty())  # no bar among the answers
    with tqdm(desc="diagnosing", total=count, unit="photo", disable=None if shown else True) as bar:
        if out:
            exits = ["early exit"] if early_exit else []
            digest = " ".join([sha256_of(model_path(model)), *thresholds, *exits])
            journal = diagnose_into(
                out, iter_photos(photos, but_not=out), predictor, model=digest, progress=bar.update
            )
            bar.close()
            write_records(noted(result for result, _ in journal.results()), form, sys.stdout, labels)
            journal.close()
        else:
            bar.iterable = predictor.stream(iter_photos(photos))
            write_records(noted(result.to_dict() for result in bar), form, sys.stdout, labels)
    return failures


def _thresholds(given: Sequence[str], labels: tuple[str, ...]) -> dict[str, float]:
    """`X` for every label or `LABEL=X` for one, later ones over earlier ones."""
    thresholds: dict[str, float] = {}
    for text in given:
        label, _, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError as error:
            raise UsageError(f"--threshold takes X or LABEL=X, with X between 0 and 1, not {text!r}") from error
        thresholds |= {label: number} if label else dict.fromkeys(labels, number)
    return thresholds
