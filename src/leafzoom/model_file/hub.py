"""Models on a hub: `hf://OWNER/NAME@REVISION`, downloaded once and kept in leafzoom's cache.

    hf://OWNER/NAME@REVISION[/FILE][#sha256=DIGEST]
    hf://OWNER/NAME[/FILE]#sha256=DIGEST

Only `.onnx` and `.safetensors` files are taken, and they are checked like any other file. A commit
or a digest always names the same bytes; a tag or a branch may move.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from leafzoom.errors import LeafzoomError, ModelError, UsageError, needs_extra
from leafzoom.storage import cache_root, sha256_of

__all__ = ["HubAddress", "hub_file", "is_hub_address", "upload_to_hub"]

_SCHEME = "hf://"
_FORM = "hf://OWNER/NAME@REVISION, or hf://OWNER/NAME#sha256=DIGEST"
_ADDRESS = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@#]+))?(/(?P<file>[^#@]+))?"
    r"(#sha256=(?P<sha256>[0-9a-fA-F]{64}))?",
    re.ASCII,
)
_SUFFIXES = (".onnx", ".safetensors")
_DEFAULT_FILE = "model.onnx"
_DEFAULT_REVISION = "main"
_COMMIT = re.compile("[0-9a-f]{40}")
_NOT_ALLOWED = (401, 403)  # of HTTP
_BROKEN = range(500, 600)
_MAX_REASON = 200  # characters of the hub's message in one of ours


@dataclass(frozen=True)
class HubAddress:
    """A file of a repository on the hub.

    Attributes:
        repository: OWNER/NAME.
        revision: a commit, a tag or a branch; "" where the digest alone says which file is meant.
        file: its path in the repository.
        sha256: of its content; "" where any content of the revision is taken.
    """

    repository: str
    revision: str = ""
    file: str = _DEFAULT_FILE
    sha256: str = ""

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """The address in a text.

        Raises:
            UsageError: it is no address, or of a file that is no model.

        >>> HubAddress.parse("hf://owner/apples@v1").file
        'model.onnx'
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise UsageError(f"{text} is no address of a model: it has to be {_FORM}")

        file = match["file"] or _DEFAULT_FILE
        if ".." in file.split("/") or not file.endswith(_SUFFIXES):
            raise UsageError(
                f"{text}: models are .onnx and .safetensors files, and {file} is none: name one"
            )
        revision = unquote(match["revision"] or "")
        return cls(match["repository"], revision, file, (match["sha256"] or "").lower())

    def __str__(self) -> str:
        """The text that `parse` reads."""
        revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
        digest = f"#sha256={self.sha256}" if self.sha256 else ""
        return f"{_SCHEME}{self.repository}{revision}/{self.file}{digest}"


def is_hub_address(text: str) -> bool:
    """Whether a text is meant as an address on the hub.

    >>> is_hub_address("hf://owner/apples@v1"), is_hub_address("model.onnx")
    (True, False)
    """
    return text.startswith(_SCHEME)


def hub_file(text: str) -> Path:
    """The local copy of a model on the hub; downloaded if the cache does not have it yet.

    Raises:
        UsageError: no address, or one that says neither which revision nor which content.
        ModelError: the hub does not have it, cannot be reached, or has another content.
        MissingExtraError: the extra `hub` is not installed.
    """
    address = HubAddress.parse(text)
    if not address.revision and not address.sha256:
        raise UsageError(
            f"{text} does not say which version is meant, and the newest one may be any: "
            f"name it as {_FORM}"
        )

    with needs_extra("hub", "a model of the hub"):
        import huggingface_hub  # noqa: F401

    with _hub_errors(str(address)):
        path = _local_copy(address)

    # A branch may have moved since the digest was written down.
    if address.sha256 and sha256_of(path) != address.sha256:
        raise ModelError(
            f"{replace(address, sha256='')} has the SHA-256 {sha256_of(path)}, not "
            f"{address.sha256}: it is another version, or not what it should be"
        )
    return path


def _local_copy(address: HubAddress) -> Path:
    """The cached copy where the hub cannot be reached, or where it cannot have changed."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    revision = address.revision or _DEFAULT_REVISION
    folder = cache_root() / "hub"
    if _COMMIT.fullmatch(revision):
        cached = try_to_load_from_cache(address.repository, address.file, folder, revision)
        if isinstance(cached, str):
            return Path(cached)

    # The client's own download would try for half a minute to reach a hub.
    is_reached = _reaches(address.repository, address.file, revision)
    return Path(
        hf_hub_download(
            address.repository,
            address.file,
            revision=revision,
            cache_dir=folder,
            library_name="leafzoom",
            local_files_only=not is_reached,
        )
    )


def _reaches(repository: str, file: str, revision: str) -> bool:
    """Whether the hub answers for a file; other answers than the file are errors of its client."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision))
    except errors.HfHubHTTPError as error:
        if error.response.status_code in _BROKEN:
            return False
        raise
    except Exception:  # of its HTTP library, which is another one in each version
        return False
    return True


def upload_to_hub(
    path: Path, address: HubAddress, texts: Mapping[str, str], *, private: bool
) -> HubAddress:
    """Upload a model with some texts in one commit, into a repository that is made if need be.

    Args:
        path: of the model's file.
        address: where to; without revision and digest.
        texts: {name of a file in the repository: its content}.
        private: whether a new repository can be read by its owners alone.

    Returns:
        The address of the uploaded file, with its commit and its digest.

    Raises:
        LeafzoomError: the hub refuses, or cannot be reached.
        MissingExtraError: the extra `hub` is not installed.
    """
    with needs_extra("hub", "leafzoom push"):
        from huggingface_hub import CommitOperationAdd, HfApi

    additions = [CommitOperationAdd(address.file, str(path))]
    additions += [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]

    # The token is the one of the user's environment.
    hub = HfApi(library_name="leafzoom")
    with _hub_errors(f"{_SCHEME}{address.repository}", LeafzoomError):
        hub.create_repo(address.repository, private=private, exist_ok=True)
        commit = hub.create_commit(
            address.repository,
            additions,
            commit_message=f"Upload {address.file} with leafzoom",
        )
    return replace(address, revision=commit.oid, sha256=sha256_of(path))


@contextmanager
def _hub_errors(where: str, kind: type[LeafzoomError] = ModelError) -> Iterator[None]:
    """Turn the errors of the hub's client into one line.

    Args:
        where: the address; the first words of the message.
        kind: of the error that is raised.
    """
    try:
        yield
    except Exception as error:  # the client, its HTTP library and the system have no common base
        raise kind(f"{where} {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What the hub's client says, and what to do."""
    from huggingface_hub import errors

    folder = cache_root() / "hub"
    reasons: dict[type[Exception], str] = {
        errors.GatedRepoError: "is open only to whom its owner lets in: ask there, and log in",
        errors.RepositoryNotFoundError: "is not on the hub, or only for others: check the name, or "
        "log in (the variable HF_TOKEN)",
        errors.RevisionNotFoundError: "has no such revision: check what stands after the @",
        errors.LocalEntryNotFoundError: f"is not in the cache ({folder}), and the hub cannot be "
        "reached: connect once, or name a file",
        errors.EntryNotFoundError: "has no such file: name one of its .onnx or .safetensors files",
        errors.OfflineModeIsEnabled: "needs the hub, and HF_HUB_OFFLINE forbids it: unset it",
    }
    for kind, text in reasons.items():
        if isinstance(error, kind):
            return text
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in _NOT_ALLOWED:
        return "is closed to you: name a token that may do this in the variable HF_TOKEN"
    return f"cannot be had from the hub, or put there ({_first_line(error)}): try again later"


def _first_line(error: Any) -> str:
    """The first line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:_MAX_REASON]
