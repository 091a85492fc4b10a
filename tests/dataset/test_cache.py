"""Caches: built once, resumed after interruption, rebuilt when damaged or outdated."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import save_photo, write_data_folder
from leafzoom.dataset import cache_build
from leafzoom.dataset.cache import Cache, build_cache, open_cache
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError, LeafzoomError
from leafzoom.photo import read_source


def test_cache_holds_what_read_source_gives(cache: Cache) -> None:
    for index in (0, 17, 59):
        expected = read_source(cache.table.rows[index].path, 96)
        assert np.array_equal(cache.sources[index], expected.pixels)
        assert tuple(cache.photo_sizes[index]) == expected.photo_size


def test_unreadable_photographs_become_problems(tmp_path: Path) -> None:
    table = "image,labels\na.png,scab\nbad.png,scab\nc.png,rust\n"
    data = write_data_folder(tmp_path / "data", table, "a.png", "c.png")
    (data / "images" / "bad.png").write_bytes(b"not a picture")

    folder = tmp_path / "cache"
    cache = build_cache(read_table(data), folder, 32)
    assert cache.table.image_names == ("a.png", "c.png")
    assert len(cache.sources) == len(cache.photo_sizes) == 2
    expected = read_source(data / "images" / "c.png", 32)
    assert np.array_equal(cache.sources[1], expected.pixels)

    # The sources stay on the disk although one is missing.
    assert isinstance(cache.sources, np.memmap)
    assert {path.name for path in folder.iterdir()} == {"cache.json", "lock", "sources.u8"}

    problems = cache.table.problems
    assert [(problem.line, problem.image_name) for problem in problems] == [(3, "bad.png")]
    with pytest.raises(DataError, match=r"row 3: 'bad.png' is text"):
        cache.table.require_clean()


def test_interrupted_build_resumes(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second build decodes only what the first had not."""
    monkeypatch.setattr(cache_build, "_CHUNK_SIZE", 8)
    decode_chunk = cache_build._decode_chunk
    table = read_table(leaves)
    starts: list[int] = []

    def decode_three(task: Any) -> object:
        if len(starts) == 3:
            raise KeyboardInterrupt
        starts.append(task.start)
        return decode_chunk(task)

    monkeypatch.setattr(cache_build, "_decode_chunk", decode_three)
    with pytest.raises(KeyboardInterrupt):
        build_cache(table, tmp_path, 96, workers=1)
    assert not (tmp_path / "cache.json").exists()
    with pytest.raises(DataError, match="no cache in"):
        open_cache(table, tmp_path, 96)

    starts.clear()

    def decode_all(task: Any) -> object:
        starts.append(task.start)
        return decode_chunk(task)

    monkeypatch.setattr(cache_build, "_decode_chunk", decode_all)
    cache = build_cache(table, tmp_path, 96, workers=1)
    assert starts == [24, 32, 40, 48, 56]
    for source, row in zip(cache.sources, table.rows, strict=True):
        assert np.array_equal(source, read_source(row.path, 96).pixels)
    assert {path.name for path in tmp_path.iterdir()} == {"cache.json", "lock", "sources.u8"}


BUILD_SCRIPT = """
import sys
from pathlib import Path
from leafzoom.dataset.cache import build_cache
from leafzoom.dataset.table import read_table
print(build_cache(read_table(Path(sys.argv[1])), Path(sys.argv[2]), 96, workers=1).digest)
"""


def test_two_builds_at_once(leaves: Path, tmp_path: Path, cache: Cache) -> None:
    command = [sys.executable, "-c", BUILD_SCRIPT, str(leaves), str(tmp_path / "shared")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = [process.communicate()[0].strip() for process in processes]
    assert digests == [cache.digest, cache.digest]


def test_a_script_that_decodes_on_import_gets_a_clear_error(tmp_path: Path) -> None:
    """The processes that decode import it; without the error they would wait for the lock."""
    data = tmp_path / "leaves"
    write_leaves(data, 2 * cache_build._CHUNK_SIZE + 1, size=32, seed=0)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from leafzoom.dataset.cache import build_cache\n"
        "from leafzoom.dataset.table import read_table\n"
        f"table = read_table(Path({str(data)!r}))\n"
        f"build_cache(table, Path({str(tmp_path / 'cache')!r}), 32, workers=2)\n",
        encoding="utf-8",
    )

    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode != 0
    assert "this script decodes on import: put what it does below" in run.stderr
    advice = 'without `if __name__ == "__main__":` started it, put what it does below'
    assert advice in run.stderr.splitlines()[-1]


def test_a_damaged_or_outdated_cache_is_rebuilt(leaves: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(leaves, data)
    table = read_table(data)
    folder = tmp_path / "cache"
    built = build_cache(table, folder, 96, workers=1)

    # One bit of one source.
    with (folder / "sources.u8").open("r+b") as file:
        file.seek(5 * 96 * 96 * 3 + 100)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(DataError, match=r"damaged at 'leaf-00005\.jpg'"):
        open_cache(table, folder, 96)

    # Invalid indexes.
    index_path = folder / "cache.json"
    key = json.loads(index_path.read_text())["key"]
    for content in ("[]", "5", json.dumps({"key": key})):
        index_path.write_text(content)
        with pytest.raises(DataError, match=r"damaged index|made for other"):
            open_cache(table, folder, 96)
    assert build_cache(table, folder, 96, workers=1).digest == built.digest

    # Another photograph, another size.
    save_photo(data / "train_images" / "leaf-00007.jpg", (200, 10, 10), (96, 96))
    with pytest.raises(DataError, match="made for other photographs"):
        open_cache(table, folder, 96)
    assert build_cache(read_table(data), folder, 96, workers=1).digest != built.digest
    with pytest.raises(DataError, match="made for other photographs or sizes"):
        open_cache(table, folder, 48)


def test_cache_folder_that_cannot_be_written(leaves: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LeafzoomError, match=r"cannot write to the folder .*file"):
        build_cache(read_table(leaves), tmp_path / "file", 96)


def test_full_disk(leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    message = r"needs 0\.0 GB and .* has 0\.0 GB free: make room"
    with pytest.raises(LeafzoomError, match=message):
        build_cache(read_table(leaves), tmp_path / "c", 96, workers=1)
