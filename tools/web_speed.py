"""Measure the app on this machine:
python -m tools.web_speed PHOTOS [--repeats N] [--runtime FILE] [--model M] [--out FILE]

Exports the model as the app and opens it in Chromium, with the network off after the first visit.
Measures the size of the first visit, the start from what is kept, the first diagnosis after it, the
next ones, and the browser's memory: with two threads, with one, with one and an early exit, and
each of these with the processor throttled 4 times. Throttled: all processes of the browser are
stopped for three quarters of the time, because Chromium's own throttling spares workers. Nothing
else should run: the load before each measurement is recorded, and the CPU time of a diagnosis,
which other work changes less. Writes results/web-speed.json.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from leafzoom.model_file.paths import model_path
from leafzoom.photo import SUFFIXES
from leafzoom.web.folder import write_web_folder
from leafzoom.web.runtime import RUNTIME_VERSION, runtime_path
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit, machine
from tools.static_host import StaticHost, chromium

__all__ = ["MODES", "Mode", "descendants", "first_visit_bytes", "main", "parser", "throttled"]

_THROTTLE = 4
_SLICE_S = 0.02  # how long the browser runs at a time while it is throttled
_READY_MS = 300_000
_BARE_PAGE = "runtime/LICENSE.txt"

_DIAGNOSE = """async ({ content, threads, quick }) => {
  const address = (path) => new URL(`../${path}`, document.baseURI).href;
  const { PhoneEngine } = await import(address("engine-phone.js"));
  const started = performance.now();
  globalThis.measured ??= await new PhoneEngine({ threads }).open();
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const file = new File([bytes], "leaf.jpg", { type: "image/jpeg" });
  const { predictions } = await globalThis.measured.diagnose([file], { quick });
  if (predictions[0].error) throw new Error(predictions[0].error);
  const [timing] = globalThis.measured.timings;
  return {
    total_ms: performance.now() - started,
    decoding_ms: timing.decoding,
    network_ms: timing.network,
    looks: predictions[0].scales.length,
    threads: globalThis.measured.threads,
  };
}"""


@dataclass(frozen=True)
class Mode:
    """A way to diagnose: `threads` at most, `quick` with the early exit."""

    name: str
    threads: int
    quick: bool


MODES = (
    Mode("two threads", 2, False),
    Mode("one thread", 1, False),
    Mode("one thread, early exit", 1, True),
)


def main() -> None:
    """Measure and write."""
    arguments = parser().parse_args()
    code = commit("src", "tools")  # as it is now, not at the end
    paths = sorted(p for p in arguments.photos.iterdir() if p.suffix.lower() in SUFFIXES)
    photos = [path.read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app"
        write_web_folder(model_path(arguments.model), app, arguments.runtime)
        sizes = first_visit_bytes(app)
        figures = _measure(app, photos, arguments.repeats)

    result = {
        "name": "web-speed",
        "command": f"python -m tools.web_speed PHOTOS --repeats {arguments.repeats}",
        "commit": code,
        "machine": machine(),
        "model_digest": model_digest(model_path(arguments.model)),
        "runtime": RUNTIME_VERSION,
        "photos": [len(content) for content in photos],
        "first_visit": sizes,
        **figures,
    }
    text = json.dumps(result, indent=1)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.web_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("photos", type=Path, metavar="PHOTOS", help="a folder of photos")
    options.add_argument("--model", default="bundled")
    options.add_argument("--repeats", type=int, default=3, help="of all photos, after the first")
    options.add_argument("--runtime", type=Path, default=runtime_path(), metavar="FILE")
    options.add_argument("--out", type=Path, default=ROOT / "results" / "web-speed.json")
    return options


def first_visit_bytes(app: Path) -> dict[str, int]:
    """The bytes of all files, as they are and as a host compresses them."""
    contents = [path.read_bytes() for path in sorted(app.rglob("*")) if path.is_file()]
    return {
        "plain": sum(len(content) for content in contents),
        "gzip": sum(len(gzip.compress(content, 6)) for content in contents),
    }


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(folder.name))

    found: list[int] = []
    queue = [process]
    while queue:
        inside = children.get(queue.pop(), [])
        found += inside
        queue += inside
    return found


@contextmanager
def throttled(processes: Sequence[int], factor: int) -> Iterator[None]:
    """Let some processes run for one part in `factor` of the time."""
    ended = threading.Event()

    def alternate() -> None:
        while not ended.is_set():
            _send(processes, signal.SIGSTOP)
            time.sleep(_SLICE_S * (factor - 1))
            _send(processes, signal.SIGCONT)
            time.sleep(_SLICE_S)

    thread = threading.Thread(target=alternate, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _send(processes, signal.SIGCONT)


def _send(processes: Sequence[int], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _measure(app: Path, photos: Sequence[bytes], repeats: int) -> dict[str, Any]:
    """The figures of all modes, unthrottled and throttled."""
    host = StaticHost(app)
    with chromium() as browser:
        context = browser.new_context(locale="en-GB")
        page = context.new_page()
        started = time.perf_counter()
        page.goto(host.url)
        _wait_until_ready(page)
        first_visit_s = time.perf_counter() - started

        # From here on there is no network, and no host.
        host.stop()
        context.set_offline(True)
        runs: list[dict[str, Any]] = []
        for factor in (1, _THROTTLE):
            for mode in MODES:
                runs.append(_measure_mode(page, host.url, mode, photos, repeats, factor))
                print(json.dumps(runs[-1]), flush=True)
    return {"first_visit_on_this_machine_s": round(first_visit_s, 2), "runs": runs}


def _measure_mode(
    page: Page, url: str, mode: Mode, photos: Sequence[bytes], repeats: int, factor: int
) -> dict[str, Any]:
    """The figures of one mode: of the start, of the first diagnosis, and of the next ones."""
    load = os.getloadavg()[0]
    processes = _browser_processes()
    with throttled(processes, factor) if factor > 1 else nullcontext():
        started = time.perf_counter()
        page.goto(url, wait_until="domcontentloaded")
        page.wait_for_selector("#viewfinder:not([hidden])", timeout=_READY_MS)
        usable_s = time.perf_counter() - started
        _wait_until_ready(page)
        ready_s = time.perf_counter() - started

        # An engine with the mode's threads, on a page that has none of its own.
        page.goto(f"{url}{_BARE_PAGE}")
        _forget_peaks(_browser_processes())
        order = [photos[0], *(content for _ in range(repeats) for content in photos)]
        first = _diagnose(page, order[0], mode)
        cpu_before = _cpu_seconds(_browser_processes())
        others = [_diagnose(page, content, mode) for content in order[1:]]
        cpu_s = (_cpu_seconds(_browser_processes()) - cpu_before) / len(others)
    return {
        "mode": mode.name,
        "threads": first["threads"],
        "throttled": factor,
        "load_before": round(load, 2),
        "usable_s": round(usable_s, 2),
        "model_ready_s": round(ready_s, 2),
        "first_diagnosis_s": round(first["total_ms"] / 1000, 2),
        "next_s": _spread_of([answer["total_ms"] / 1000 for answer in others]),
        "decoding_s": _spread_of([answer["decoding_ms"] / 1000 for answer in others]),
        "network_s": _spread_of([answer["network_ms"] / 1000 for answer in others]),
        "cpu_s_per_diagnosis": round(cpu_s, 2),
        "one_look": sum(answer["looks"] == 1 for answer in others),
        "diagnoses": len(others),
        "memory_mb": _renderer_megabytes(_browser_processes()),
    }


def _diagnose(page: Page, content: bytes, mode: Mode) -> dict[str, Any]:
    text = base64.b64encode(content).decode()
    options = {"content": text, "threads": mode.threads, "quick": mode.quick}
    answer: dict[str, Any] = page.evaluate(_DIAGNOSE, options)
    return answer


def _wait_until_ready(page: Page) -> None:
    page.wait_for_selector("#model:not(:empty)", state="attached", timeout=_READY_MS)


def _spread_of(seconds: Sequence[float]) -> dict[str, float]:
    """Median and greatest."""
    return {
        "median": round(statistics.median(seconds), 2),
        "greatest": round(max(seconds), 2),
    }


def _browser_processes() -> list[int]:
    """The browser's processes, among those that this one has started."""
    found = []
    for process in descendants(os.getpid()):
        with suppress(OSError):
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            if b"chromium" in command.split(b"\0")[0]:
                found.append(process)
    return found


def _cpu_seconds(processes: Sequence[int]) -> float:
    """The CPU time that processes have taken so far: other work on the machine does not count."""
    ticks = 0
    for process in processes:
        with suppress(OSError, IndexError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _forget_peaks(processes: Sequence[int]) -> None:
    """Let the peaks of the processes' memory begin again."""
    for process in processes:
        with suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5")


def _renderer_megabytes(processes: Sequence[int]) -> float:
    """The greatest resident memory that a process of the page has had, in MiB."""
    peaks = [0.0]
    for process in processes:
        with suppress(OSError):
            if b"--type=renderer" in Path(f"/proc/{process}/cmdline").read_bytes():
                status = Path(f"/proc/{process}/status").read_text()
                peak = status.partition("VmHWM:")[2].split()[0]
                peaks.append(int(peak) / 1024)
    return round(max(peaks), 1)


if __name__ == "__main__":
    main()
