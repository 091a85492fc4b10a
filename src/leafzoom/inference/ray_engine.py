"""Many photos on many cores and machines: Ray Data hands blocks of photos to actors.

An actor holds the model, reads and decodes its photos with our own reader, and writes the answers
to a block as one file of Parquet (see `answer_folder`). The driver sees counts alone, so its memory
does not grow with the answers. A block whose actor is killed goes to another one, and replaces the
block's file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafzoom.errors import LeafzoomError, ModelError, UsageError, needs_extra
from leafzoom.inference.answer_folder import AnswerFolder
from leafzoom.inference.answer_table import answer_schema, answer_table
from leafzoom.inference.devices import CUDA
from leafzoom.inference.loading import open_network
from leafzoom.inference.photo_like import PhotoLike
from leafzoom.inference.prediction import FailedPhoto, Prediction, without_place
from leafzoom.inference.predictor import Predictor
from leafzoom.model_file.paths import model_path
from leafzoom.photo_archive import ArchivedPhoto
from leafzoom.photo_files import FoundPhoto
from leafzoom.photo_url import RemotePhoto, remote_photo
from leafzoom.storage import sha256_of

if TYPE_CHECKING:
    import pyarrow

__all__ = ["RayCounts", "RayJob", "diagnose_with_ray"]

_BLOCK_PHOTOS = 256
_BLOCK_STEP = 16  # whole batches of the network, so that answers are those of the local path
_BLOCKS_AN_ACTOR = 4
_MAX_WORKERS = 16
_OBJECT_STORE_BYTES = 100 * 2**20  # paths and counts pass through it, no pixels
_MAX_REASON = 200
_ONE_PROCESS = "memory://"


@dataclass(frozen=True)
class RayJob:
    """What each actor needs.

    Attributes:
        model: as `open_network` takes it; every machine has to have it.
        model_digest: what answers depend on besides the photos.
        destination: a folder that all machines have in common, or an address.
        device: one of `devices.DEVICES`: with `cuda` an actor takes a GPU, else a core.
        thresholds, early_exit, source_size: of the `Predictor`.
        coverage: of the possible answers.
        location: whether latitude and longitude are kept.
    """

    model: str
    model_digest: str
    destination: str
    device: str
    thresholds: Mapping[str, float] = field(default_factory=dict)
    early_exit: bool = False
    source_size: int | None = None
    coverage: float | None = None
    location: bool = True


@dataclass(frozen=True)
class RayCounts:
    """How many photos had answers from earlier runs, were diagnosed now, and could not be read."""

    reused: int
    diagnosed: int
    failed: int


def diagnose_with_ray(
    photos: Iterable[FoundPhoto],
    job: RayJob,
    *,
    address: str | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> RayCounts:
    """Diagnose the photos that the destination has no answers to.

    Args:
        photos: files and addresses; one that is named twice is diagnosed once.
        job: what to do with them.
        address: of a Ray cluster; None: one of this machine alone, which ends with the call.
        progress: called with the number of photos that are done since the last call.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: a photo that other processes cannot read.
        DataError: a storage that cannot be reached, a destination of another model.
        LeafzoomError: there is no such cluster, Ray fails, or an actor cannot go on.
    """
    with needs_extra("scale", "--engine ray"):
        import pyarrow
        import ray

    requests = _requests(photos)
    missing = AnswerFolder(job.destination, job.model_digest).begin(requests.column("photo"))
    reused = len(requests) - len(missing)
    progress(reused)
    if not len(missing):
        return RayCounts(reused, 0, 0)

    is_missing = pyarrow.compute.is_in(requests.column("photo"), value_set=missing)
    with _cluster(ray, address), _errors_in_one_line(ray):
        counts = _run_blocks(ray, requests.filter(is_missing), job, progress)
    return replace(counts, reused=reused)


def _run_blocks(
    ray: Any, requests: pyarrow.Table, job: RayJob, progress: Callable[[int], object]
) -> RayCounts:
    """Have the actors diagnose all photos; returns what they counted."""
    uses_gpu = job.device == CUDA
    resources = ray.cluster_resources()
    slots = int(resources.get("GPU" if uses_gpu else "CPU", 0))
    if not slots:
        raise LeafzoomError(
            f"the Ray cluster has no {'GPU' if uses_gpu else 'CPU'} to give: start it with one"
        )
    cores = max(1, int(resources.get("CPU", 1)) // slots)
    blocks = _blocks(requests, slots)

    counted = ray.data.from_arrow(blocks).map_batches(
        _Diagnosis,
        fn_constructor_args=(job, min(cores, _MAX_WORKERS)),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=0 if uses_gpu else 1,
        num_gpus=1 if uses_gpu else 0,
        concurrency=min(slots, len(blocks)),
    )
    diagnosed = 0
    failed = 0
    for count in counted.iter_rows():
        if count["error"]:
            raise LeafzoomError(count["error"])
        diagnosed += count["photos"]
        failed += count["failed"]
        progress(count["photos"])
    return RayCounts(0, diagnosed, failed)


class _Diagnosis:
    """An actor: the model, loaded once, and what it does with a block of photos.

    Args:
        job: what to do.
        workers: threads that decode photos.
    """

    def __init__(self, job: RayJob, workers: int) -> None:
        self._job = job
        self._workers = workers
        self._folder = AnswerFolder(job.destination, job.model_digest)

    @cached_property
    def _predictor(self) -> Predictor:
        """Loaded with the first block: Ray hides why a constructor fails.

        Raises:
            ModelError: this machine has another model.
        """
        job = self._job
        _check_model(job)
        return Predictor(
            open_network(job.model, device=job.device, threads=1),
            workers=self._workers,
            thresholds=job.thresholds,
            early_exit=job.early_exit,
            source_size=job.source_size,
        )

    def __call__(self, requests: pyarrow.Table) -> pyarrow.Table:
        """Diagnose a block, write its answers, and count them.

        An error that ends the run is returned: Ray would lose its type, and show where it was
        raised instead of what it says.
        """
        import pyarrow

        try:
            answers = self._diagnose(requests)
        except LeafzoomError as error:
            return pyarrow.table({"photos": [0], "failed": [0], "error": [str(error)]})

        failed = sum(isinstance(answer, FailedPhoto) for answer in answers)
        return pyarrow.table({"photos": [len(answers)], "failed": [failed], "error": [""]})

    def _diagnose(self, requests: pyarrow.Table) -> list[Prediction | FailedPhoto]:
        """The answers to a block, written."""
        job = self._job
        names = requests.column("photo").to_pylist()
        locations = requests.column("location").to_pylist()
        photos = map(_photo_at, locations, requests.column("size").to_pylist())
        results = self._predictor.predict_many(photos, coverage=job.coverage)
        named = map(_with_name, results, names, locations)
        answers = list(named if job.location else map(without_place, named))

        manifest = self._predictor.network.manifest
        possible = job.coverage is not None
        schema = answer_schema(manifest.labels.names, manifest.look_heads, possible=possible)
        self._folder.write(names, answer_table(answers, schema, job.model_digest))
        return answers


def _check_model(job: RayJob) -> None:
    """Refuse another file than the one that the run was started with."""
    path = model_path(job.model)
    if not job.model_digest.startswith(sha256_of(path)):
        raise ModelError(
            f"{path} is another model on one machine of the cluster: copy the same file to all"
        )


def _requests(photos: Iterable[FoundPhoto]) -> pyarrow.Table:
    """The photos' names, each once, where every machine finds them, and their sizes."""
    import pyarrow

    by_name = {}
    for photo in photos:
        size = photo.size if isinstance(photo, RemotePhoto) else -1
        by_name[_name(photo)] = (_location(photo), size)
    return pyarrow.table(
        {
            "photo": pyarrow.array(by_name, pyarrow.string()),
            "location": pyarrow.array((place for place, _ in by_name.values()), pyarrow.binary()),
            "size": pyarrow.array((size for _, size in by_name.values()), pyarrow.int64()),
        }
    )


def _name(photo: FoundPhoto) -> str:
    """A photo's name as text; bytes that are no text are escaped."""
    return os.fsencode(str(photo)).decode(errors="backslashreplace")


def _location(photo: FoundPhoto) -> bytes:
    """An absolute path or an address: other processes may have another current folder.

    Raises:
        UsageError: other processes cannot read it.
    """
    if isinstance(photo, ArchivedPhoto):
        raise UsageError(
            f"{photo.archive.path}: --engine ray reads no archives: unpack it or leave out --engine"
        )
    if str(photo).startswith(_ONE_PROCESS):
        raise UsageError(
            f"{photo}: memory:// is of one process, and --engine ray has several: leave it out"
        )
    return os.fsencode(photo.absolute() if isinstance(photo, Path) else str(photo))


def _photo_at(location: bytes, size: int) -> PhotoLike:
    """What the predictor reads."""
    text = os.fsdecode(location)
    if os.path.isabs(text):
        return Path(text)
    return text if size < 0 else replace(remote_photo(text), size=size)


def _with_name(
    result: Prediction | FailedPhoto, name: str, location: bytes
) -> Prediction | FailedPhoto:
    """A result under the photo's own name; messages have it too."""
    if isinstance(result, Prediction):
        return replace(result, photo=name, original=None)
    return FailedPhoto(name, result.error.replace(os.fsdecode(location), name))


def _blocks(requests: pyarrow.Table, slots: int) -> list[pyarrow.Table]:
    """The photos in blocks of whole batches: a block is what a killed actor loses."""
    share = -(-len(requests) // (slots * _BLOCKS_AN_ACTOR))
    steps = -(-min(share, _BLOCK_PHOTOS) // _BLOCK_STEP)
    photos = steps * _BLOCK_STEP
    return [requests.slice(start, photos) for start in range(0, len(requests), photos)]


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """A cluster of Ray, quiet; one of the caller's is used, and left as it is."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if ray.is_initialized():
        yield
        return

    # Nothing of leafzoom sends statistics anywhere. Workers have this command's priority, not a
    # lower one, so that they get their share of a machine that has other work.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it warns of its own actors
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(address or "local", **options)
    except Exception as error:  # Ray's errors have no common base
        raise LeafzoomError(
            f"Ray does not start at {address or 'this machine'} ({_reason(error)}): check --address"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _errors_in_one_line(ray: Any) -> Iterator[None]:
    """An error of Ray itself is one line."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise LeafzoomError(
            f"Ray stops ({_reason(error)}): its logs are below /tmp/ray/session_latest/logs; the "
            "same command goes on where it stopped"
        ) from error


def _reason(error: Exception) -> str:
    """A message of Ray in one short line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).strip()[:_MAX_REASON]
