"""Caches and data sets that are damaged, interrupted, or changed between and during trainings."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leafzoom.dataset import cache_build
from leafzoom.dataset.cache import Cache, build_cache, open_cache
from leafzoom.dataset.split import Split, training_split
from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError, LeafzoomError, TrainingError
from leafzoom.recipe import Recipe
from leafzoom.training.run import train
from reliability.damage import (
    DAMAGES,
    FLIPS,
    damaged_contents,
    flip_bit,
    no_echo,
    same_weights,
    train_until,
)

SOURCE_BYTES = 64 * 64 * 3


def change_byte(path: Path, offset: int) -> None:
    """Flip a bit of a file without reading the rest of it."""
    with path.open("r+b") as file:
        file.seek(offset)
        changed = flip_bit(file.read(1), 0, bit=4)
        file.seek(offset)
        file.write(changed)


def test_a_cache_that_is_rebuilt_says_why(data: Path, tmp_path: Path) -> None:
    table = read_table(data)
    lines: list[str] = []
    digest = build_cache(table, tmp_path, 64, workers=1, echo=lines.append).digest
    assert lines == []

    change_byte(tmp_path / "sources.u8", 7 * SOURCE_BYTES)
    assert build_cache(table, tmp_path, 64, workers=1, echo=lines.append).digest == digest
    assert len(lines) == 1
    message = r"sources\.u8 is damaged at 'leaf-00007\.jpg': the cache is rebuilt"
    assert re.search(message, lines[0])


def test_any_bit_of_a_caches_index(
    data: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The cache is then as before, or refused: never another error, never other values."""
    table = read_table(data)
    expected = build_cache(table, tmp_path, 64, workers=1)
    index = tmp_path / "cache.json"

    refused = 0
    for description, content in damaged_contents(index.read_bytes(), FLIPS):
        index.write_bytes(content)
        try:
            cache = open_cache(table, tmp_path, 64)
        except DataError:
            refused += 1
        else:
            assert cache.digest == expected.digest, description
            assert np.array_equal(cache.photo_sizes, expected.photo_sizes), description
    record_property("damaged indexes", DAMAGES)
    record_property("refused, to be built anew", refused)
    assert refused > FLIPS


def interrupt_build(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build a cache up to its fourth chunk."""
    decode_chunk = cache_build._decode_chunk
    decoded = 0

    def decode_four(task: Any) -> object:
        nonlocal decoded
        decoded += 1
        if decoded > 4:
            raise KeyboardInterrupt
        return decode_chunk(task)

    with monkeypatch.context() as patch:
        patch.setattr(cache_build, "_decode_chunk", decode_four)
        with pytest.raises(KeyboardInterrupt):
            build_cache(read_table(data), folder, 64, workers=1)


def test_any_bit_of_a_caches_journal(
    data: Path,
    sources: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """A build that resumes from a damaged journal gives the same cache."""
    monkeypatch.setattr(cache_build, "_CHUNK_SIZE", 8)
    half = tmp_path / "half"
    interrupt_build(data, half, monkeypatch)

    table = read_table(data)
    journal = (half / "journal.jsonl").read_bytes()
    damages = list(damaged_contents(journal, 60))
    for number, (description, content) in enumerate(damages):
        folder = tmp_path / str(number)
        shutil.copytree(half, folder)
        (folder / "journal.jsonl").write_bytes(content)

        cache = build_cache(table, folder, 64, workers=1)
        assert cache.digest == sources.digest, description
        assert np.array_equal(cache.photo_sizes, sources.photo_sizes), description
        shutil.rmtree(folder)
    record_property("damaged journals that gave the same cache", len(damages))

    # A chunk at another row.
    moved = journal.replace(b'"start": 8,', b'"start": 0,')
    (half / "journal.jsonl").write_bytes(moved)
    assert build_cache(table, half, 64, workers=1).digest == sources.digest


def kill_one_decoder(killed: list[int]) -> None:
    """Kill one of two processes that decode, when both have started.

    Earlier, CPython's pool can wait for ever for one that it starts while another dies.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = multiprocessing.active_children()
        decoders = [child for child in children if "Spawn" in type(child).__name__]
        if len(decoders) == 2 and decoders[0].pid:
            os.kill(decoders[0].pid, 9)
            killed.append(decoders[0].pid)
            return
        time.sleep(0.01)


def test_a_process_that_decodes_and_dies_is_one_line_and_the_build_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_build, "_CHUNK_SIZE", 2)
    table = read_table(data)
    killed: list[int] = []
    thread = threading.Thread(target=kill_one_decoder, args=(killed,))
    thread.start()

    message = r"was ended.*too little memory.*run the command again"
    with pytest.raises(LeafzoomError, match=message) as error:
        build_cache(table, tmp_path, 64, workers=2)
    thread.join()
    assert killed
    assert len(str(error.value).splitlines()) == 1

    cache = build_cache(table, tmp_path, 64, workers=1)
    assert len(cache.sources) == 48


# The data set changes


def test_pixels_that_change_under_a_running_training_stop_it(
    whole: Path, data: Path, small: Recipe, tmp_path: Path
) -> None:
    """Sources are compared with their checksums at every read; --resume rebuilds the cache."""
    folder = tmp_path / "cache"
    cache = build_cache(read_table(data), folder, 64, workers=1)
    split = training_split(cache, "inner-train")
    changed_image = split.train[3]
    offset = cache.table.image_names.index(changed_image) * SOURCE_BYTES + 5000

    epochs = 0

    def change_in_second_epoch(line: str) -> None:
        nonlocal epochs
        if "(" in line:
            epochs += 1
            if epochs == 2:
                change_byte(folder / "sources.u8", offset)

    run = tmp_path / "run"
    message = rf"{re.escape(repr(changed_image))} have changed .*--resume"
    with pytest.raises(DataError, match=message):
        train(cache, split, small, run, echo=change_in_second_epoch)

    rebuilt = build_cache(read_table(data), folder, 64, workers=1)
    train(rebuilt, split, small, run, resume=True, echo=no_echo)
    assert same_weights(run, whole)


@pytest.mark.slow
def test_photographs_or_labels_that_changed_between_runs_are_refused(
    whole: Path, data: Path, small: Recipe, tmp_path: Path
) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)
    run = tmp_path / "run"
    split = Split.from_dict(json.loads((whole / "split.json").read_text()), whole)

    def current_cache() -> Cache:
        table = read_table(own).require_clean()
        return build_cache(table, tmp_path / "cache", 64, workers=1)

    train_until(current_cache(), split, small, run, epochs=2)

    # Another photograph.
    photo = own / "train_images" / "leaf-00004.jpg"
    content = photo.read_bytes()
    photo.write_bytes((own / "train_images" / "leaf-00005.jpg").read_bytes())
    message = "was trained with other photographs or labels"
    with pytest.raises(TrainingError, match=message):
        train(current_cache(), split, small, run, resume=True, echo=no_echo)
    photo.write_bytes(content)

    # Another label.
    csv = own / "train.csv"
    table = csv.read_text()
    labels = re.search(r"^leaf-00004\.jpg,(.*)$", table, re.MULTILINE)
    assert labels is not None
    other_label = "rust" if labels[1] == "healthy" else "healthy"
    csv.write_text(table.replace(labels[0], f"leaf-00004.jpg,{other_label}"))
    with pytest.raises(TrainingError, match=message):
        train(current_cache(), split, small, run, resume=True, echo=no_echo)
    csv.write_text(table)

    # No photograph.
    photo.unlink()
    with pytest.raises(DataError, match=r"train\.csv row \d+: 'leaf-00004.jpg' does not exist"):
        current_cache()

    # Restored, with another time.
    photo.write_bytes(content)
    train(current_cache(), split, small, run, resume=True, echo=no_echo)
    assert same_weights(run, whole)
