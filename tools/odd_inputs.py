"""Hostile and odd inputs, made by a seeded program: photos, tables, recipes, splits, model files.

    python -m tools.odd_inputs FOLDER [--seed N]

writes them as files, to try a program by hand. `tests/reliability/test_odd_inputs.py` runs every
command and the service over them, and `tools.fuzz` changes them at random. No photograph is needed:
the pictures are noise.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import struct
from pathlib import Path

from tools.odd_photos import archive, odd_photo_names, odd_photos, sound_photos

__all__ = [
    "main",
    "odd_models",
    "odd_recipes",
    "odd_results",
    "odd_splits",
    "odd_tables",
    "write_all",
]

_DEEP = 100_000


def main() -> None:
    """Write all inputs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{write_all(arguments.folder, arguments.seed)} files in {arguments.folder}")


def write_all(folder: Path, seed: int) -> int:
    """Write every input below a folder, one folder a kind; how many there are."""
    photos = odd_photos(seed)
    kinds: dict[str, dict[str, bytes]] = {
        "photos": {f"{name}.jpg": content for name, content in photos.items()},
        "names": dict.fromkeys(odd_photo_names(), sound_photos(seed)["jpeg"]),
        "tables": {f"{name}.csv": content for name, content in odd_tables(seed).items()},
        "recipes": {f"{name}.toml": content for name, content in odd_recipes().items()},
        "splits": {f"{name}.json": content for name, content in odd_splits().items()},
        "results": odd_results(),
        "models": odd_models(seed),
    }
    for kind, files in kinds.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / kind / name).write_bytes(content)
    return sum(map(len, kinds.values()))


# Tables.


def odd_tables(seed: int) -> dict[str, bytes]:
    """Contents of tables beside the photographs 0.png to 11.png; some can be read, some cannot."""
    rows = [(f"{index}.png", "scab" if index % 2 else "rust") for index in range(12)]
    lines = [f"{name},{label}" for name, label in rows]
    plain = "\n".join(["image,labels", *lines]) + "\n"
    texts = {
        "plain": plain,
        "semicolons": plain.replace(",", ";"),
        "tabs": plain.replace(",", "\t"),
        "separator-line": "sep=;\n" + plain.replace(",", ";"),
        "separator-line-alone": "sep=;",
        "separator-nul": "sep=\0\n" + plain,
        "separator-quote": 'sep="\n' + plain,
        "marks": "\ufeff\ufeff" + plain.replace("\n", "\n\ufeff"),
        "returns": plain.replace("\n", "\r"),
        "empty-columns": plain.replace("\n", ",,,,\n") + ",,,,,\n" * 100,
        "only-header": "image,labels\n",
        "only-commas": ",,,,\n" * 10,
        "only-spaces": "   \n\t\n",
        "no-header": "\n".join(lines),
        "one-column": "image\n0.png\n",
        "many-columns": ",".join(map(str, range(5000))) + "\n",
        "open-quote": plain.replace("rust", '"rust', 1),
        "quotes": plain.replace("rust", '"ru""st"'),
        "nul": plain.replace("scab", "sc\0ab"),
        "controls": plain.replace("scab", "sc\x1bab\x07"),
        "right-to-left": plain.replace("scab", "\u202escab"),
        "invisible": plain.replace("scab", "sc\u200bab"),
        "formula": plain.replace("scab", "=cmd|'/c'!A1"),
        "markup": plain.replace("scab", "<script>alert(1)</script>"),
        "braces": plain.replace("scab", "{0.__class__}"),
        "long-label": plain.replace("scab", "s" * 50_000),
        "many-labels": "image,labels\n0.png," + " ".join(f"l{i}" for i in range(20_000)) + "\n",
        "many-classes": "image,labels\n" + "".join(f"{i}.png,l{i}\n" for i in range(12)),
        "no-labels": "image,labels\n" + "".join(f"{name},\n" for name, _ in rows),
        "case": plain.replace("5.png,scab", "5.png,Scab"),
        "no-value": plain.replace("rust", "nan"),
        "phrase": plain.replace("rust", "cedar apple rust"),
        "bars": plain.replace("rust", "rust|scab"),
        "lists": plain.replace("rust", "\"['rust', 'scab']\""),
        "ragged": plain.replace(",rust\n", "\n", 2).replace(",scab\n", ",scab,more,cells\n", 2),
        "twice": plain + plain.replace("image,labels\n", ""),
        "outside": plain + "../x.png,scab\n/etc/passwd,scab\n~/x.png,rust\nC:\\x.png,rust\n",
        "devices": plain + "/dev/zero,scab\n/proc/self/mem,rust\n.,scab\n",
        "long-name": plain + "x" * 5000 + ".png,scab\n",
        "deep-name": plain + "a/" * 3000 + "b.png,scab\n",
        "one-hot": "image,scab,rust\n" + "".join(f"{i},{i % 2},{1 - i % 2}\n" for i in range(12)),
        "one-hot-holes": "image,scab,rust\n0,1,\n1,,\n2,0,1\n",
        "two-readings": "file,label,disease\n" + "".join(f"{i}.png,a,b\n" for i in range(12)),
        "index": "," + plain.replace("\n", "\n0,", 12),
        "numbers": "image,labels\n0,1\n1,2\n2,3\n",
    }
    random_bytes = random.Random(seed).randbytes(2000)
    return {
        **{name: text.encode() for name, text in texts.items()},
        "empty": b"",
        "only-a-mark": b"\xef\xbb\xbf",
        "latin": plain.replace("scab", "Fäule").encode("latin-1"),
        "wide": plain.encode("utf-16"),
        "wide-half": plain.encode("utf-16")[:-1],
        "wide-without-mark": plain.encode("utf-16-le"),
        "wider": plain.encode("utf-32"),
        "random": random_bytes,
        "picture": sound_photos(seed)["png"],
        "archive": archive({"a.txt": b"x"}),
        "archive-half": archive({"a.txt": b"x" * 100})[:40],
        "old-excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
        "program": b"\x7fELF" + random_bytes,
        "one-line": b"x" * 1_000_000,
    }


# Recipes, splits, results.


def odd_recipes() -> dict[str, bytes]:
    """Contents of recipes that are not right, but for a byte order mark."""
    texts = {
        "mark": "\ufeffextends = 'default'\n",
        "wrong-type": "seed = 'one'\n",
        "negative": "seed = -1\n",
        "large": f"seed = {10**400}\n",
        "not-a-number": "[fine_tuning.optimizer]\nlearning_rate = nan\n",
        "infinite": "[fine_tuning.optimizer]\nlearning_rate = inf\n",
        "unknown": "colour = 'red'\n",
        "unknown-section": "[colours]\nred = 1\n",
        "section-is-a-value": "model = 3\n",
        "value-is-a-section": "[seed]\na = 1\n",
        "extends-nothing": "extends = 'nowhere.toml'\n",
        "extends-a-number": "extends = 3\n",
        "extends-itself": "extends = 'extends-itself.toml'\n",
        "extends-a-folder": "extends = '.'\n",
        "extends-nul": 'extends = "a\\u0000b"\n',
        "twice": "seed = 1\nseed = 2\n",
        "not-toml": "{}[]=\n",
        "deep": "seed = " + "[" * _DEEP + "]" * _DEEP + "\n",
        "dotted": ".".join(["a"] * 5000) + " = 1\n",
        "date": "seed = 2024-01-01\n",
        "weights": "[data]\nclass_weights = 'cubic'\n",
        "labels": "[data]\nlabels = ['a b', 'a b']\n",
        "huge-source": "[data]\nsource_size = 1000000\n",
    }
    return {
        **{name: text.encode() for name, text in texts.items()},
        "latin": "name = 'Fäule'\n".encode("latin-1"),
        "wide": "seed = 1\n".encode("utf-16"),
        "nul": b"seed = 1\0\n",
        "random": random.Random(1).randbytes(300),
    }


def odd_splits() -> dict[str, bytes]:
    """Contents of splits in JSON that are not right."""
    texts = {
        "empty": "",
        "list": "[]",
        "number": "3",
        "null": "null",
        "no-parts": "{}",
        "no-names": '{"train": [], "validation": [], "test": []}',
        "numbers": '{"train": [1, 2], "validation": [3]}',
        "text": '{"train": "0.png", "validation": "1.png"}',
        "nested": '{"train": [["0.png"]], "validation": ["1.png"]}',
        "unknown-names": '{"train": ["gone.png"], "validation": ["also-gone.png"]}',
        "both": '{"train": ["0.png"], "validation": ["0.png"]}',
        "twice": '{"train": ["0.png", "0.png"], "validation": ["1.png"]}',
        "two-words": '{"train": ["0.png"], "validation": ["1.png"], "select": ["2.png"]}',
        "mark": '\ufeff{"train": ["gone.png"], "validation": ["1.png"]}',
        "not-a-number": '{"train": NaN}',
        "cut": '{"train": ["0.png", "1.p',
        "deep": "[" * _DEEP,
        "deep-objects": '{"train":' * _DEEP,
        "surrogate": '{"train": ["\\ud800"], "validation": ["1.png"]}',
    }
    return {
        **{name: text.encode() for name, text in texts.items()},
        "latin": '{"train": ["ä.png"]}'.encode("latin-1"),
        "random": random.Random(2).randbytes(300),
    }


def odd_results() -> dict[str, bytes]:
    """Contents of files that are called results of `predict`."""
    texts = {
        "empty.json": "",
        "empty.jsonl": "",
        "empty.csv": "",
        "list.json": "[]",
        "number.json": "3",
        "numbers.json": "[1, 2]",
        "objects.jsonl": "{}\n{}\n",
        "cut.json": '[{"photo": "a.jpg", "labels": [',
        "deep.json": "[" * _DEEP,
        "wrong.jsonl": '{"photo": 1, "labels": {}, "probabilities": [], "verdict": null}\n',
        "header.csv": "photo,verdict\n",
        "other.csv": "a,b\n1,2\n",
        "nul.csv": "photo,\0\n",
    }
    content = {name: text.encode() for name, text in texts.items()}
    return {**content, "random.json": random.Random(3).randbytes(300)}


# Model files.


def odd_models(seed: int) -> dict[str, bytes]:
    """Contents of files that are called models; none of them is one."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    deep = ("[" * _DEEP).encode()
    random_bytes = random.Random(seed).randbytes(3000)
    return {
        "empty.onnx": b"",
        "random.onnx": random_bytes,
        "zeros.onnx": bytes(1000),
        "text.onnx": b"model",
        "page.onnx": b"<!DOCTYPE html>",
        "long-number.onnx": b"\x08" + b"\xff" * 20,
        "long-field.onnx": b"\x3a\xff\xff\xff\xff\x0f",
        "groups.onnx": b"\x0b\x0c" * 100,
        "nested.onnx": _nested_graphs(2000),
        "empty.safetensors": b"",
        "random.safetensors": random_bytes,
        "long-header.safetensors": struct.pack("<Q", 2**62) + b"{}",
        "large-tensor.safetensors": struct.pack("<Q", len(header)) + header.encode(),
        "deep-header.safetensors": struct.pack("<Q", len(deep)) + deep,
        "pickle.safetensors": pickle.dumps({"weights": [1.0]}),
        "pickle.pt": pickle.dumps({"weights": [1.0]}),
        "archive.onnx": archive({"model": random_bytes}),
    }


def _nested_graphs(depth: int) -> bytes:
    """A model whose graph has a node with a graph with a node, and so on."""
    content = b""
    for _ in range(depth):
        for number in (6, 5, 1):  # an attribute's graph, a node's attribute, a graph's node
            content = bytes([number << 3 | 2]) + _length(len(content)) + content
    return b"\x3a" + _length(len(content)) + content


def _length(value: int) -> bytes:
    """A length in protobuf's wire format."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


if __name__ == "__main__":
    main()
