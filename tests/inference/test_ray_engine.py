"""`predict --engine ray`: the local path's answers, resumed, whole after a worker is killed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from conftest import failure_line, run_command
from exif_photos import degrees, make_exif, save_with_exif
from experiments.process_watch import process_roles
from leafzoom.errors import LeafzoomError, UsageError
from leafzoom.inference import ray_engine
from leafzoom.inference.answer_table import answer_schema, answer_table
from leafzoom.inference.loading import open_network
from leafzoom.inference.predictor import Predictor
from leafzoom.inference.ray_engine import RayJob, diagnose_with_ray
from leafzoom.photo_files import find_photos
from leafzoom.storage import sha256_of

ray = pytest.importorskip("ray")

# Another build of the same sums may round otherwise.
TOLERANCE = 2e-5


def job_for(trained: Path, out: Path, **options: Any) -> RayJob:
    """What to do with the tiny model."""
    model = trained / "model.onnx"
    return RayJob(str(model), f"{sha256_of(model)} exif", str(out), "cpu", **options)


def rows_at(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows by photo; no photo has two."""
    rows = pyarrow.parquet.read_table(folder).to_pylist()
    by_photo = {row["photo"]: row for row in rows}
    assert len(by_photo) == len(rows)
    return by_photo


@pytest.fixture(scope="module")
def orchard(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty leaves, a turned photo with a place, one that is cut off, one that is none."""
    folder = tmp_path_factory.mktemp("orchard")
    for photo in sorted(leaves.rglob("*.jpg"))[:40]:
        shutil.copy(photo, folder)
    exif = make_exif("2026:09:01 10:00:00", ("N", degrees(47.5)), ("E", degrees(9.25)))
    exif[0x0112] = 6
    save_with_exif(folder / "turned.jpg", Image.open(photo).resize((120, 60)), exif)
    (folder / "cut.jpg").write_bytes(photo.read_bytes()[:300])
    (folder / "none.jpg").write_text("no photo")
    return folder


# The parts, in this process.


def test_a_block_has_the_answers_of_the_local_path(
    trained: Path, orchard: Path, tmp_path: Path
) -> None:
    """Each column of each row, those of unreadable photos and of EXIF too."""
    job = job_for(trained, tmp_path / "out")
    photos = find_photos([orchard])
    requests = ray_engine._requests(photos)
    ray_engine.AnswerFolder(job.destination, job.model_digest).begin(requests.column("photo"))

    counts = ray_engine._Diagnosis(job, 2)(requests)
    assert counts.to_pylist() == [{"photos": 43, "failed": 2, "error": ""}]

    network = open_network(job.model)
    results = list(Predictor(network).predict_many(photos))
    schema = answer_schema(network.manifest.labels.names, network.manifest.look_heads)
    expected = answer_table(results, schema, job.model_digest).to_pylist()
    rows = rows_at(tmp_path / "out")
    for row in expected:
        assert rows[row["photo"]] == pytest.approx(row, abs=TOLERANCE)
    assert rows[str(orchard / "turned.jpg")]["latitude"] == 47.5
    assert "cut off" in rows[str(orchard / "cut.jpg")]["error"]


def test_the_place_is_left_out(trained: Path, orchard: Path, tmp_path: Path) -> None:
    job = job_for(trained, tmp_path / "out", location=False)
    requests = ray_engine._requests([orchard / "turned.jpg"])
    (tmp_path / "out").mkdir()
    ray_engine._Diagnosis(job, 1)(requests)
    (row,) = rows_at(tmp_path / "out").values()
    assert (row["latitude"], row["longitude"]) == (None, None)
    assert row["taken"]


def test_photos_keep_their_names_in_any_current_folder(
    trained: Path, orchard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(orchard)
    requests = ray_engine._requests([Path("none.jpg"), Path("none.jpg"), Path("gone.jpg")])
    assert requests.column("photo").to_pylist() == ["none.jpg", "gone.jpg"]

    monkeypatch.chdir(tmp_path)
    ray_engine._Diagnosis(job_for(trained, tmp_path), 1)(requests)
    rows = rows_at(tmp_path)
    assert rows["none.jpg"]["error"].startswith("none.jpg is text, not a photo")
    assert rows["gone.jpg"]["error"] == "gone.jpg does not exist: check the path"


def test_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    photo = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    row = ray_engine._requests([photo]).to_pylist()[0]
    assert row["photo"] == f"{tmp_path}/caf\\xe9.jpg"
    assert ray_engine._photo_at(row["location"], -1) == photo


@pytest.mark.parametrize(
    ("photos", "slots", "sizes"),
    [
        (10, 2, [10]),
        (100, 2, [16, 16, 16, 16, 16, 16, 4]),
        (3000, 2, [*[256] * 11, 184]),
    ],
)
def test_blocks_are_whole_batches(photos: int, slots: int, sizes: list[int]) -> None:
    table = pyarrow.table({"photo": [str(number) for number in range(photos)]})
    blocks = ray_engine._blocks(table, slots)
    assert [len(block) for block in blocks] == sizes
    assert pyarrow.concat_tables(blocks) == table


def test_what_other_processes_cannot_read_is_refused(orchard: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(orchard / "turned.jpg", "a.jpg")
    with pytest.raises(UsageError, match=r"a\.zip: --engine ray reads no archives: unpack it"):
        ray_engine._requests(find_photos([tmp_path / "a.zip"]))
    with pytest.raises(UsageError, match="memory:// is of one process"):
        ray_engine._requests(find_photos(["memory://x/a.jpg"]))


def test_another_model_on_a_machine_is_refused(trained: Path, tmp_path: Path) -> None:
    job = RayJob(str(trained / "model.onnx"), "0" * 64, str(tmp_path), "cpu")
    (counts,) = ray_engine._Diagnosis(job, 1)(ray_engine._requests([Path("a.jpg")])).to_pylist()
    assert counts["photos"] == 0
    assert "another model on one machine of the cluster" in counts["error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "ray"], "name their folder with --out"),
        (["--engine", "ray", "--out", "x", "--maps"], "leave out --maps"),
        (["--engine", "ray", "--out", "x", "--format", "csv"], "leave out --format"),
        (["--engine", "ray", "--out", "x", "--group-by", "day"], "leave out --group-by"),
        (["--address", "10.0.0.1:6379"], "add --engine ray"),
        (["--out", "s3://answers/x"], "add --engine ray"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words: list[str], message: str) -> None:
    assert message in failure_line(run_command("predict", "a.jpg", *words), 2)


def test_without_ray_the_extra_is_named(
    orchard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    words = ["predict", orchard / "turned.jpg", "--engine", "ray", "--out", tmp_path / "out"]
    assert 'pip install "leafzoom[scale]"' in failure_line(run_command(*words), 1)


# A cluster of this machine.


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray with two cores, started once."""
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"})
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level="error",
    )
    yield
    ray.shutdown()


@pytest.mark.slow
def test_ray_gives_the_local_answers_and_does_only_what_is_missing(
    cluster: None, trained: Path, orchard: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers"
    words = ["predict", "--model", trained, "--engine", "ray", "--out", out]
    result = run_command(*words, orchard)
    assert result.exit_code == 1
    assert "43 photos diagnosed, 2 of them cannot be read, 0 answers were there" in result.stderr

    photos = find_photos([orchard])
    network = open_network(str(trained))
    results = list(Predictor(network).predict_many(photos))
    rows = rows_at(out)
    schema = answer_schema(network.manifest.labels.names, network.manifest.look_heads)
    digest = rows[str(photos[0])]["model_digest"]
    for row in answer_table(results, schema, digest).to_pylist():
        assert rows[row["photo"]] == pytest.approx(row, abs=TOLERANCE)

    # Without one of its files, only that file's photos are diagnosed, and what failed.
    file = min(out.glob("answers-*.parquet"))
    lost = len(pyarrow.parquet.read_table(file))
    others = {path.name: path.stat().st_mtime_ns for path in out.glob("answers-*") if path != file}
    file.unlink()
    result = run_command(*words, orchard)
    assert f"{lost + 2} photos diagnosed, 2 of them" in result.stderr
    assert f"{41 - lost} answers were there" in result.stderr
    assert {name: (out / name).stat().st_mtime_ns for name in others} == others
    assert {photo: row["labels"] for photo, row in rows_at(out).items()} == {
        photo: row["labels"] for photo, row in rows.items()
    }

    # Another model's answers do not mix with these.
    line = failure_line(run_command(*words, orchard, "--threshold", "0.4"), 1)
    assert "another model or of other options" in line


@pytest.mark.slow
def test_a_killed_worker_loses_no_row_and_doubles_none(
    cluster: None, trained: Path, leaves: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    photos = sorted(leaves.rglob("*.jpg"))
    for number in range(600):
        os.link(photos[number % len(photos)], folder / f"{number:04}.jpg")

    job = job_for(trained, tmp_path / "out")
    killed: list[int] = []
    killer = threading.Thread(target=_kill_one_actor, args=(tmp_path / "out", killed.append))
    killer.start()
    counts = diagnose_with_ray(find_photos([folder]), job)
    killer.join()

    assert len(killed) == 1
    assert counts.diagnosed == 600
    assert set(rows_at(tmp_path / "out")) == {str(path) for path in folder.iterdir()}


def _kill_one_actor(out: Path, killed: Callable[[int], object]) -> None:
    """Kill -9 an actor of this process's Ray once the first answers are written."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        roles = process_roles(os.getpid()) if any(out.glob("answers-*")) else {}
        actor = next((pid for pid, role in roles.items() if role == "worker"), None)
        if actor is not None:
            os.kill(actor, signal.SIGKILL)
            killed(actor)
            return
        time.sleep(0.02)


@pytest.mark.slow
def test_an_error_of_an_actor_is_one_line(
    cluster: None, trained: Path, orchard: Path, tmp_path: Path
) -> None:
    """Another model here, or a storage that cannot be reached."""
    job = RayJob(str(trained / "model.onnx"), "0" * 64, str(tmp_path / "out"), "cpu")
    with pytest.raises(LeafzoomError, match="another model on one machine of the cluster"):
        diagnose_with_ray([orchard / "turned.jpg"], job)


def test_a_cluster_that_is_not_there_is_one_line(
    trained: Path, orchard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ConnectionError("Failed to connect\nno GCS at 10.0.0.1:6379")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    job = job_for(trained, tmp_path / "out")
    with pytest.raises(LeafzoomError, match=r"does not start at 10\.0\.0\.1:6379 \(no GCS at"):
        diagnose_with_ray([orchard / "turned.jpg"], job, address="10.0.0.1:6379")
