"""Models on a hub: addresses, downloads, digests, and what happens without a network."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import leafzoom
from conftest import run_command
from hub_stand_in import HubStandIn, Repository, hub_environment, run_leafzoom
from leafzoom.errors import MissingExtraError, RecipeError, UsageError
from leafzoom.inference.loading import open_network
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model.pretrained import initial_checkpoint, start_backbone
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.hub import HubAddress, hub_file
from leafzoom.model_file.paths import checkpoint_path, run_folder
from leafzoom.recipe import load_recipe
from leafzoom.storage import sha256_of

GOLDEN = Path(__file__).parents[1] / "golden"
MODEL = GOLDEN / "model-format-1.onnx"
CHECKPOINT = GOLDEN / "model-format-1.safetensors"
DIGEST = sha256_of(MODEL)
REPOSITORY = "orchards/apples"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    """A hub with one repository of a model, in two versions."""
    stand_in = HubStandIn()
    repository = Repository()
    files = {"model.onnx": MODEL.read_bytes(), "old/model.safetensors": CHECKPOINT.read_bytes()}
    repository.add({**files, "model.pkl": b"\x80\x04."}, "v1")
    repository.add({"model.onnx": b"no model"}, "v2")
    stand_in.repositories = {REPOSITORY: repository, "orchards/closed": Repository(gated=True)}
    yield stand_in
    stand_in.stop()


def failure_of(done: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """The one line with which a command fails."""
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("leafzoom:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


# Addresses.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://a/b@v1", HubAddress("a/b", "v1")),
        ("hf://a/b@refs%2Fpr%2F1/x/m.onnx", HubAddress("a/b", "refs/pr/1", "x/m.onnx")),
        ("hf://a/b/m.safetensors", HubAddress("a/b", file="m.safetensors")),
        (f"hf://a/b#sha256={'A' * 64}", HubAddress("a/b", sha256="a" * 64)),
        (f"hf://a.b/c-d@main#sha256={'1' * 64}", HubAddress("a.b/c-d", "main", sha256="1" * 64)),
    ],
)
def test_an_address_is_read(text: str, expected: HubAddress) -> None:
    assert HubAddress.parse(text) == expected
    assert HubAddress.parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hf://apples", "is no address of a model"),
        ("hf://a/b@", "is no address of a model"),
        ("hf://a/b@v1#sha256=abc", "is no address of a model"),
        ("hf://a/b@v1/../../m.onnx", "m.onnx is none"),
        ("hf://a/b@v1/model.pkl", "model.pkl is none"),
        ("hf://a/b@v1/pytorch_model.bin", "pytorch_model.bin is none"),
        ("https://a/b", "is no address of a model"),
    ],
)
def test_what_is_no_address_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        HubAddress.parse(text)


def test_a_version_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="does not say which version is meant"):
        hub_file("hf://orchards/apples")


def test_without_the_extra_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r'pip install "leafzoom\[hub\]"'):
        leafzoom.load("hf://orchards/apples@v1")


# Downloads.


def test_a_model_is_downloaded_once(hub: HubStandIn, tmp_path: Path) -> None:
    """By a tag, by its commit and by its digest alone; a commit is not asked for again."""
    commit = hub.repositories[REPOSITORY].names["v1"]
    tagged = run_leafzoom("info", f"hf://{REPOSITORY}@v1", hub=hub.url, home=tmp_path)
    assert tagged.returncode == 0, tagged.stderr
    assert tagged.stdout == run_command("info", MODEL).stdout
    assert [request for request in hub.requests if request.startswith("GET")]

    hub.requests.clear()
    pinned = f"hf://{REPOSITORY}@{commit}#sha256={DIGEST}"
    again = run_leafzoom("info", pinned, hub=hub.url, home=tmp_path)
    assert again.stdout == tagged.stdout
    assert hub.requests == []

    # Nothing is kept but in leafzoom's own cache.
    assert list((tmp_path / "cache" / "hub").iterdir())
    assert not list((tmp_path / "hub-client").glob("**/*.onnx"))


def test_photos_are_diagnosed_with_it(hub: HubStandIn, tmp_path: Path, leaves: Path) -> None:
    photo = leaves / "train_images" / "leaf-00001.jpg"
    address = f"hf://{REPOSITORY}@v1"
    options = ("--format", "csv", "--model")
    done = run_leafzoom("predict", photo, *options, address, hub=hub.url, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == run_command("predict", photo, *options, MODEL).stdout


def test_another_content_than_the_digest_is_refused(hub: HubStandIn, tmp_path: Path) -> None:
    """The newest version, where the digest alone is named, is another one by now."""
    moved = run_leafzoom("info", f"hf://{REPOSITORY}#sha256={DIGEST}", hub=hub.url, home=tmp_path)
    line = failure_of(moved, 1)
    assert f"not {DIGEST}" in line
    assert hashlib.sha256(b"no model").hexdigest() in line


def test_what_is_no_model_is_refused_like_any_file(hub: HubStandIn, tmp_path: Path) -> None:
    done = run_leafzoom("info", f"hf://{REPOSITORY}@v2", hub=hub.url, home=tmp_path)
    assert "is no ONNX model" in failure_of(done, 1)


def answers_of(addresses: list[str], **environment: str) -> list[str]:
    """What `hub_file` says to addresses, in one process: SHA-256 of its file, or its error."""
    script = (
        "import sys\n"
        "from leafzoom.errors import LeafzoomError\n"
        "from leafzoom.model_file.hub import hub_file\n"
        "from leafzoom.storage import sha256_of\n"
        "for address in sys.argv[1:]:\n"
        "    try:\n"
        "        print(sha256_of(hub_file(address)))\n"
        "    except LeafzoomError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-c", script, *addresses]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_what_the_hub_does_not_have_is_one_line(hub: HubStandIn, tmp_path: Path) -> None:
    problems = {
        "hf://orchards/pears@v1": "is not on the hub, or only for others",
        "hf://orchards/closed@v1": "is open only to whom its owner lets in",
        f"hf://{REPOSITORY}@v9": "has no such revision",
        f"hf://{REPOSITORY}@v1/other.onnx": "has no such file",
    }
    answers = answers_of(list(problems), **hub_environment(hub.url, tmp_path))
    assert len(answers) == len(problems)
    for answer, (address, problem) in zip(answers, problems.items(), strict=True):
        assert answer.startswith(address)
        assert problem in answer


def test_without_a_network_the_cached_copy_is_read(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag too; what is not in the cache is one line, at once and without further words."""
    address = f"hf://{REPOSITORY}@v1"
    addresses = [address, f"hf://{REPOSITORY}@v2"]
    environment = hub_environment(hub.url, tmp_path)
    assert answers_of([address], **environment) == [DIGEST]

    gone = HubStandIn()
    gone.stop()
    cached, missing = answers_of(addresses, **hub_environment(gone.url, tmp_path))
    assert cached == DIGEST
    assert "is not in the cache" in missing
    assert str(tmp_path / "cache" / "hub") in missing

    # The client's own switch has the same effect, and so has a hub that is broken.
    offline = answers_of(addresses, **{**environment, "HF_HUB_OFFLINE": "1"})
    monkeypatch.setattr(hub, "is_broken", True)
    assert offline == answers_of(addresses, **environment) == [cached, missing]


def test_a_training_may_start_from_a_checkpoint_of_the_hub(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, from the copy that another one has put into the cache."""
    address = f"hf://{REPOSITORY}@v1/old/model.safetensors"
    environment = hub_environment(hub.url, tmp_path)
    answers_of([address], **environment)
    monkeypatch.setenv("LEAFZOOM_CACHE", environment["LEAFZOOM_CACHE"])

    expected = load_checkpoint(CHECKPOINT).tensors
    tensors = initial_checkpoint(address).tensors
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor.numpy(), expected[name].numpy())
    assert checkpoint_path(address).read_bytes() == CHECKPOINT.read_bytes()
    assert isinstance(open_network(address), TorchNetwork)
    assert run_folder(address) is None


def test_a_recipe_may_not_name_an_address() -> None:
    """It may come from anyone, and would choose what is downloaded."""
    recipe = load_recipe("default", [f"model.pretrained=hf://{REPOSITORY}@v1"])
    with pytest.raises(RecipeError, match="is an address, which a recipe cannot name"):
        start_backbone(recipe, ("a", "b"))
