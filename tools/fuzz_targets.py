"""What `tools.fuzz` tries at random: the readers of tables, of `.onnx` files and of photos.

A target has the inputs that are tried and a check, which tells how an input ended (`read`,
`refused`) and fails if it ended in any other way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from leafzoom.dataset.columns import AUTOMATIC, TableReading
from leafzoom.dataset.table import Table, read_table
from leafzoom.errors import DataError, LeafzoomError, ModelError, PhotoError
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checksum import CHECKSUM_KEY
from leafzoom.model_file.manifest import METADATA_KEY
from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.model_file.onnx_subgraph import with_outputs
from leafzoom.photo import read_photo, read_source
from tools.fuzz_tables import PHOTOGRAPHS, WrittenTable, written_tables
from tools.mutations import mutated, overwritten
from tools.odd_inputs import odd_models, odd_tables
from tools.odd_photos import odd_photos, sound_photos

__all__ = ["Target", "small_model", "targets"]

_MAX_MESSAGE_CHARACTERS = 2500
_MAX_SEED_BYTES = 200_000
_SOURCE_SIZE = 64
_TABLE_WORDS = (
    b",",
    b";",
    b"\t",
    b"|",
    b'"',
    b"\n",
    b"\r",
    b"\r\n",
    b"sep=;\n",
    b"\x00",
    b" ",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"image",
    b"labels",
    b"0.png",
    b"../",
    b"1",
    b"0",
)
_ONNX_WORDS = (
    b":",
    b"r",
    b"j",
    b"p",
    b"\xca\x01",
    b"\n\x00",
    b"\xff\xff\x7f",
    b"\x80\x00",
    b"p\x01",
    b"j\x02\n\x00",
    b"\x0b",
    b"\x0c",
    b"leafzoom",
)
_PHOTO_WORDS = (
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xda",
    b"\xff\xe1",
    b"\xff\xc2",
    b"IDAT",
    b"IEND",
    b"iCCP",
    b"VP8X",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"Exif\x00\x00II*\x00",
)


@dataclass(frozen=True)
class Target:
    """A reader that is tried: its inputs, and the check that tells how one ended."""

    name: str
    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], str]


def targets(folder: Path) -> list[Target]:
    """All targets; they write their files below a folder."""
    tables = _TableFolder(folder / "tables")
    models = _ModelFile(folder / "model.onnx")
    return [
        Target("tables", _changed(odd_tables(0), _TABLE_WORDS), tables.check),
        Target("tables as written", written_tables(), tables.check_written),
        Target("onnx", _changed_models(), models.check),
        Target("photos", _changed(odd_photos(0), _PHOTO_WORDS), _check_photo),
    ]


def _changed(seeds: Mapping[str, bytes], words: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Contents with random changes, a few bytes at random among them."""
    contents = [content for content in seeds.values() if len(content) <= _MAX_SEED_BYTES]

    def change(content: bytes, seed: int) -> bytes:
        # Where lengths stand before what they count, most insertions end the reading at once.
        draw = random.Random(seed)
        changer = draw.choice((mutated, overwritten))
        return changer(content, draw, words)

    changes = st.builds(change, st.sampled_from(contents), st.integers(0, 2**63))
    return st.one_of(changes, changes, changes, st.binary(max_size=200))


def _check_message(error: LeafzoomError) -> None:
    """Fail unless an error's message is one line of a moderate length."""
    message = str(error)
    assert message.isprintable(), repr(message)
    assert len(message) <= _MAX_MESSAGE_CHARACTERS, f"{len(message)} characters: {message[:200]!r}"


# Tables.


class _TableFolder:
    """A data folder with photographs, whose table is written anew for each input."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in PHOTOGRAPHS:
            (folder / name).write_bytes(sound_photos(0)["one-pixel"])

    def check(self, content: bytes) -> str:
        """Read any content: a table whose rows can all be used, or one line."""
        outcome = "refused"
        for reading in (AUTOMATIC, TableReading(group_column="labels")):
            try:
                self._check_table(self._read(content, reading))
            except DataError as error:
                _check_message(error)
            else:
                outcome = "read"
        return outcome

    def check_written(self, table: WrittenTable) -> str:
        """Read back what a spreadsheet wrote, each cell as it was meant."""
        read = self._read(table.content, AUTOMATIC).require_clean()
        rows = [(row.path.name, row.labels) for row in read.rows]
        assert rows == list(table.rows), rows
        return "read"

    def _read(self, content: bytes, reading: TableReading) -> Table:
        (self._folder / "train.csv").write_bytes(content)
        return read_table(self._folder, reading=reading)

    def _check_table(self, table: Table) -> None:
        """Fail unless each row is a photograph with labels, and each problem one line."""
        names = [row.path.name for row in table.rows]
        assert set(names) <= set(PHOTOGRAPHS)
        assert len(names) == len(set(names))
        for row in table.rows:
            assert row.path.parent.samefile(self._folder)
            assert all(label.isprintable() and label.split() == [label] for label in row.labels)
        for line in [*map(str, table.problems), *table.warnings, table.description]:
            assert line.isprintable(), repr(line)
        table.targets(table.label_set())


# Models.


def small_model() -> bytes:
    """A model with the shipped one's metadata, a tensor in each place that may have one."""
    shipped = onnx.load(bundled_model(), load_external_data=False)
    text = next(entry.value for entry in shipped.metadata_props if entry.key == METADATA_KEY)

    weight = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    sparse = helper.make_sparse_tensor(
        weight, helper.make_tensor("indices", TensorProto.INT64, [2], [0, 3]), [4]
    )
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2])
    constant = helper.make_node("Constant", [], ["inner"], value=weight)
    inner = helper.make_graph([constant], "g", [], [output])
    nodes = [
        helper.make_node("If", ["condition"], ["a"], then_branch=inner, else_branch=inner),
        helper.make_node("Constant", [], ["b"], sparse_value=sparse),
        helper.make_node("Add", ["a", "w"], ["c"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("condition", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("b", "c")],
        initializer=[weight],
        sparse_initializer=[sparse],
    )
    model = helper.make_model(graph)
    model.metadata_props.add(key=METADATA_KEY, value=text)
    return bytes(model.SerializeToString())


def _changed_models() -> st.SearchStrategy[bytes]:
    """Models with random changes; mostly not of the metadata, which are longer than the rest."""
    sound = small_model()
    bare = onnx.load_model_from_string(sound)
    metadata = onnx.ModelProto(metadata_props=bare.metadata_props).SerializeToString()
    del bare.metadata_props[:]

    # Models that have to be refused, until a change makes them sound.
    external = onnx.load_model_from_string(bare.SerializeToString())
    external.graph.initializer[0].external_data.add(key="location", value="weights")
    marked = onnx.load_model_from_string(bare.SerializeToString())
    marked.graph.initializer[0].data_location = TensorProto.EXTERNAL
    functions = onnx.load_model_from_string(bare.SerializeToString())
    functions.functions.add(name="f", domain="d")

    models = {"bare": bare, "external": external, "marked": marked, "functions": functions}
    graphs = {name: bytes(model.SerializeToString()) for name, model in models.items()}
    odd = {name: model for name, model in odd_models(0).items() if name.endswith(".onnx")}
    return st.one_of(
        _changed({"bare": graphs["bare"]}, _ONNX_WORDS).map(lambda content: content + metadata),
        _changed(graphs, _ONNX_WORDS).map(lambda content: content + metadata),
        _changed({"sound": sound, **odd}, _ONNX_WORDS),
    )


class _ModelFile:
    """A model file that is written anew for each input."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self, content: bytes) -> str:
        """Read any content: whatever is accepted is what the onnx library reads, too."""
        self._path.write_bytes(content)
        try:
            read_onnx(self._path)
        except ModelError as error:
            _check_message(error)
            return "refused"

        # Of what is not needed before, ONNX Runtime is the judge.
        model = _parsed(content)
        if model is None:
            return "left to ONNX Runtime"
        _check_same_reading(model)
        _check_part(content, model)
        return "read"


def _parsed(content: bytes) -> onnx.ModelProto | None:
    """A model as the onnx library reads it; None if it cannot."""
    with suppress(Exception):  # protobuf's own errors, of several kinds
        return onnx.load_model_from_string(content)
    return None


def _check_same_reading(model: onnx.ModelProto) -> None:
    """Fail if the onnx library finds what our reader has not found."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert METADATA_KEY in metadata
    assert CHECKSUM_KEY not in metadata, "a changed file with a checksum was accepted"
    assert not model.functions, "functions were not seen"
    assert not any(_external_tensors(model.graph)), "weights in another file were not seen"


def _external_tensors(message: Any) -> Sequence[TensorProto]:
    """The tensors anywhere in a message whose data are elsewhere, by protobuf's reflection."""
    found: list[TensorProto] = []
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in value if field.is_repeated else [value]:
            is_tensor = isinstance(inner, TensorProto)
            if is_tensor and (inner.external_data or inner.data_location):
                found.append(inner)
            found += _external_tensors(inner)
    return found


def _check_part(content: bytes, model: onnx.ModelProto) -> None:
    """Fail unless the part that computes one output is a model that has it."""
    # protobuf gives a name that is no UTF-8 as bytes; leafzoom asks for none of these.
    names = [output.name for output in model.graph.output]
    name = next((name for name in names if name and isinstance(name, str)), None)
    if name is None:
        return
    part = _parsed(with_outputs(content, [name]))
    assert part is not None, "the part of a model is no model"
    assert name in {output.name for output in part.graph.output}, "the part lacks its output"


# Photos.


def _check_photo(content: bytes) -> str:
    """Read any content: a source and a photo of one size, or one line."""
    try:
        source = read_source(content, _SOURCE_SIZE)
    except PhotoError as error:
        _check_message(error)
        return "refused"

    assert source.pixels.shape == (_SOURCE_SIZE, _SOURCE_SIZE, 3)
    width, height = source.photo_size
    assert width > 0
    assert height > 0

    # At full resolution more of the file is decoded, and may be damaged.
    try:
        photo = read_photo(content)
    except PhotoError as error:
        _check_message(error)
        return "read"
    assert photo.size == source.photo_size
    assert photo.mode == "RGB"
    return "read"
