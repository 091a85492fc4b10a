"""Photos in storage: every fsspec address, as files, folders, patterns and lists."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

import leafzoom
from conftest import failure_line, run_command, save_photo
from leafzoom.errors import DataError, MissingExtraError, PhotoError
from leafzoom.exif import Exif
from leafzoom.inference.photo_list import read_photo_list
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.photo import read_source
from leafzoom.photo_file import MAX_BYTES
from leafzoom.photo_files import PhotoSearch, find_photos
from leafzoom.photo_url import RemotePhoto, remote_photo, storage_of

ORCHARD = "memory://orchard"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Photos, and what is none, in a storage of this process and below a folder."""
    folder = tmp_path / "orchard"
    for number, name in enumerate(("b.jpg", "row/a.JPG", "row/deep/c.png", ".trash/d.jpg")):
        save_photo(folder / name, (10 * number, 90, 40))
    (folder / "notes.txt").write_text("no photo")

    filesystem = fsspec.filesystem("memory")
    for path in folder.rglob("*.*"):
        if path.is_file():
            filesystem.pipe(f"/orchard/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield folder
    filesystem.store.clear()


def names(*addresses: str) -> list[str]:
    """The paths of the photos in the storage, from its root."""
    return [str(photo).split("orchard/")[1] for photo in find_photos(addresses)]


def test_a_folder_has_its_photos_sorted_and_the_rest_is_counted(memory: Path) -> None:
    search = PhotoSearch([ORCHARD])
    assert [str(photo).split("orchard/")[1] for photo in search] == [
        *("b.jpg", "row/a.JPG", "row/deep/c.png")
    ]
    assert ".txt" in str(search.passed_over)
    assert names(f"{ORCHARD}/row") == ["row/a.JPG", "row/deep/c.png"]


def test_patterns_and_files_are_found(memory: Path) -> None:
    assert names(f"{ORCHARD}/*.jpg") == ["b.jpg"]
    assert names(f"{ORCHARD}/r*") == ["row/a.JPG", "row/deep/c.png"]
    assert names(f"{ORCHARD}/b.jpg", f"{ORCHARD}/row/a.JPG") == ["b.jpg", "row/a.JPG"]
    with pytest.raises(DataError, match=r"no file matches .*\*\.webp: check the pattern"):
        find_photos([f"{ORCHARD}/*.webp"])

    # As on a disk, a file may have the signs of a pattern in its name.
    fsspec.filesystem("memory").pipe("/orchard/odd[1].jpg", b"x")
    assert names(f"{ORCHARD}/odd[1].jpg") == ["odd[1].jpg"]


def test_a_folder_without_photos_is_an_error(memory: Path) -> None:
    fsspec.filesystem("memory").pipe("/empty/notes.txt", b"x")
    with pytest.raises(DataError, match="the folder memory://empty has no photo"):
        find_photos(["memory://empty"])


def test_pixels_are_those_of_the_file(memory: Path) -> None:
    """Bytes come from the storage, and our own reader decodes them, with EXIF."""
    remote = remote_photo(f"{ORCHARD}/row/a.JPG")
    source = read_source(remote, 64)
    local = read_source(memory / "row" / "a.JPG", 64)

    assert source.photo_size == local.photo_size
    assert (source.pixels == local.pixels).all()
    assert isinstance(source.exif, Exif)
    assert (str(remote), remote.stem) == (f"{ORCHARD}/row/a.JPG", "a")


def test_limits_hold(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = storage_of(ORCHARD)
    with pytest.raises(PhotoError, match="is too large"):
        RemotePhoto(f"{ORCHARD}/b.jpg", storage, size=MAX_BYTES + 1).read()

    monkeypatch.setattr("leafzoom.photo_url.MAX_BYTES", 10)
    monkeypatch.setattr("leafzoom.photo_file.MAX_BYTES", 10)
    with pytest.raises(PhotoError, match="it has 11 bytes and at most 10"):
        remote_photo(f"{ORCHARD}/b.jpg").read()  # the size is not known, and 11 bytes are read


def test_what_is_not_there_fails_alone(memory: Path) -> None:
    model = leafzoom.load()
    addresses = [f"{ORCHARD}/gone.jpg", f"{ORCHARD}/b.jpg", f"{ORCHARD}/row"]
    gone, there, folder = model.predict_many(addresses)

    assert isinstance(gone, FailedPhoto)
    assert gone.error == f"{ORCHARD}/gone.jpg does not exist: check the address"
    assert isinstance(there, Prediction)
    assert isinstance(folder, FailedPhoto)


def test_python_takes_addresses(memory: Path) -> None:
    model = leafzoom.load()
    expected = model.predict(memory / "b.jpg")

    for address in (f"{ORCHARD}/b.jpg", (memory / "b.jpg").as_uri()):
        prediction = model.predict(address)
        assert prediction.photo == address
        assert prediction.probabilities == expected.probabilities
    assert len(list(model.predict_many(ORCHARD))) == 3
    assert model.predict(f"{ORCHARD}/b.jpg").plot().size == expected.plot().size


def test_file_addresses_may_be_patterns(memory: Path) -> None:
    assert find_photos([f"{memory.as_uri()}/*.jpg"]) == [memory / "b.jpg"]


def test_predict_reads_a_storage_like_a_folder(memory: Path, tmp_path: Path) -> None:
    """The same answers, and a second call reuses them unless the storage says they changed."""
    result = run_command("predict", ORCHARD, "--out", tmp_path / "out", "--format", "csv")
    local = run_command("predict", memory, "--format", "csv")

    assert result.exit_code == local.exit_code == 0, result.output
    assert columns(result.stdout) == columns(local.stdout)
    assert (tmp_path / "out" / "b-diagnosis.png").is_file()


def columns(text: str) -> list[list[str]]:
    """The cells of a CSV without the photo's name."""
    return [line.split(",")[1:] for line in text.splitlines()]


def test_a_storage_that_fails_ends_the_run_in_one_line(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No credentials, no network: drivers raise errors of their own."""

    class NoCredentialsError(Exception):
        """As botocore's."""

    def fail(*arguments: object, **options: object) -> None:
        raise NoCredentialsError("Unable to locate\ncredentials")

    kind = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(kind, "info", fail)
    line = failure_line(run_command("predict", f"{ORCHARD}/b.jpg"), 1)
    assert line == (
        f"leafzoom: {ORCHARD}/b.jpg cannot be reached (Unable to locate credentials): check the "
        "address, your credentials for memory:// and the network, then start again"
    )
    monkeypatch.undo()

    # In the middle of a run too: it is no photo's fault.
    monkeypatch.setattr(kind, "cat_file", fail)
    assert "cannot be reached" in failure_line(run_command("predict", f"{ORCHARD}/*.jpg"), 1)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    with pytest.raises(MissingExtraError, match=r"gs:// addresses need .*: pip install gcsfs"):
        find_photos(["gs://no-such-bucket-here/a.jpg"])
    monkeypatch.undo()
    assert "fsspec knows" in failure_line(run_command("predict", "odd-storage://x/a.jpg"), 1)


def test_lists_name_addresses_and_may_lie_at_one(memory: Path) -> None:
    text = f"{ORCHARD}/b.jpg\n{ORCHARD}/row/a.JPG\n"
    fsspec.filesystem("memory").pipe("/orchard/list.txt", text.encode())
    assert read_photo_list(f"{ORCHARD}/list.txt") == text.split()


def test_a_parquet_table_is_a_list(memory: Path, tmp_path: Path) -> None:
    table = pyarrow.table({"id": [1, 2, 3], "path": ["b.jpg", None, f"{ORCHARD}/row/a.JPG"]})
    path = memory / "paths.parquet"
    pyarrow.parquet.write_table(table, path)
    shutil.copy(path, tmp_path / "elsewhere.parquet")

    # A path is relative to the list where it exists there alone.
    assert read_photo_list(str(path)) == [str(memory / "b.jpg"), f"{ORCHARD}/row/a.JPG"]
    assert read_photo_list(str(tmp_path / "elsewhere.parquet"))[0] == "b.jpg"
    result = run_command("predict", path, "--format", "csv")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"name": ["b.jpg"]}, "has no column of photos: name it photo, path, image, file, url"),
        ({"photo": [3]}, "the column photo is no text"),
        ({"photo": [""]}, "names no photo"),
    ],
)
def test_a_table_that_is_no_list_is_refused(
    content: dict[str, list[object]], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table(content), path)
    with pytest.raises(DataError, match=words):
        read_photo_list(str(path))
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="is no Parquet table, or damaged"):
        read_photo_list(str(path))


# S3, as a server on this machine speaks it.


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket on a server on the loopback."""
    pytest.importorskip("s3fs", reason="needs s3fs, whose botocore wants an older python-dateutil")
    server_module = pytest.importorskip("moto.server", reason="needs moto, beside s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    _forget_storages()
    fsspec.filesystem("s3").makedirs("orchard", exist_ok=True)  # moto keeps it
    yield "s3://orchard"
    server.stop()
    _forget_storages()


def _forget_storages() -> None:
    """Drivers keep their clients, with addresses and credentials."""
    from leafzoom import photo_url

    photo_url._storage.cache_clear()
    filesystem = fsspec.get_filesystem_class("s3")
    filesystem.clear_instance_cache()


def test_s3_is_read(bucket: str, memory: Path, tmp_path: Path) -> None:
    filesystem = fsspec.filesystem("s3")
    filesystem.put(f"{memory}/", "orchard/season", recursive=True)

    result = run_command("predict", f"{bucket}/season", "--format", "csv", "--out", tmp_path / "o")
    local = run_command("predict", memory, "--format", "csv")
    assert result.exit_code == 0, result.output
    assert columns(result.stdout) == columns(local.stdout)
    assert result.stdout.splitlines()[1].startswith("s3://orchard/season/b.jpg,")
    assert names(f"{bucket}/season/*.jpg") == ["season/b.jpg"]

    # A photo that is replaced has another version.
    (before,) = find_photos([f"{bucket}/season/*.jpg"])
    filesystem.put(str(save_photo(tmp_path / "new.jpg", (1, 2, 3))), "orchard/season/b.jpg")
    (after,) = find_photos([f"{bucket}/season/*.jpg"])
    assert isinstance(before, RemotePhoto)
    assert isinstance(after, RemotePhoto)
    assert before.version != after.version

    gone = run_command("predict", f"{bucket}/season/gone.jpg")
    assert gone.exit_code == 1
    assert "s3://orchard/season/gone.jpg does not exist" in gone.stderr


def test_s3_without_credentials_or_server_is_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    _forget_storages()
    line = failure_line(run_command("predict", f"{bucket}/a.jpg"), 1)
    assert "cannot be reached" in line
    assert "credentials" in line

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    _forget_storages()
    line = failure_line(run_command("predict", f"{bucket}/a.jpg"), 1)
    assert "cannot be reached" in line
    assert "the network" in line
