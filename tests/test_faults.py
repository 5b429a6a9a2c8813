"""Faults: whatever ends a command or becomes of its files, the same command ends with the same result, or with one clear line.

HYBRID_TRIALS trials, 20 here and 200 by `make test-faults`, each in a child of this process, which has imported everything.
Counts are printed: tried, survived, lost.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from hybrid import paths
from hybrid.cli import main
from hybrid.experiments.store import Store
from hybrid.judging import frechet
from hybrid.machine import files
from hybrid.training import checkpoint
from hybrid.training.history import read_history

TRIALS = int(os.environ.get("HYBRID_TRIALS", "20"))
SEED = int(os.environ.get("HYBRID_FAULT_SEED", "0"))  # another one tries other moments and places
PROFILE = (
    "smoke,hybrid.representation.training.batch=16,hybrid.prior.training.batch=16,hybrid.representation.contrast.key_batch=16,"
    "hybrid.representation.training.epochs=3,evaluation.samples=8"
)
REPRODUCE = ["reproduce", "--profile", PROFILE, "--dataset", "data/tiny.npz", "--methods", "hybrid", "--no-notebooks"]
TRAIN = ["train", "--profile", PROFILE, "--dataset", "data/tiny.npz", "--methods", "hybrid"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="trials are forked")]

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)  # a PNG


def run(home: Path, command: list[str], before=None, after: float | None = None, number: int = signal.SIGKILL):
    """The command in a child, with `before` called first; after so many seconds it gets a signal. Its status, and its error.

    The status is negative where a signal ended it, and 1 where a traceback did.
    """
    said = home / "said.txt"
    child = os.fork()
    if not child:
        status = 1
        try:
            sys.stderr = open(said, "w", encoding="utf-8")  # noqa: SIM115
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
            os.environ["HYBRID_HOME"] = str(home)
            os.chdir(home)
            if before is not None:
                before()
            with contextlib.redirect_stdout(io.StringIO()):
                status = main(command)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            os._exit(status)
    if after is not None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), said.read_text(encoding="utf-8") if said.exists() else ""


def essence(home: Path) -> dict:
    """All that is found, without times and dates: weights, histories, numbers, arrays, the table."""
    found = {}
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if path.name == "checkpoint.pt":
            found[name] = checkpoint.digest(checkpoint.load(path)["weights"])
        elif path.suffix == ".jsonl":
            found[name] = [{k: v for k, v in line.items() if k != "seconds"} for line in read_history(path)]
        elif path.suffix == ".json" and path.parent.name.startswith("seed"):
            kept = Store(path.parent).read(path.stem)
            found[name] = kept["metrics"], kept["calibration"]
        elif path.suffix == ".npz" and "results" in path.parts:
            arrays = files.load_arrays(path)
            found[name] = {key: value.tolist() for key, value in arrays.items() if key not in ("key", "provenance")}
        elif path.name in ("table1.csv", "table1.md"):
            found[name] = path.read_bytes()
    return found


def kinds(home: Path) -> list[Path]:
    """The files that are kept: whatever a command could believe."""
    return [
        path
        for path in sorted(home.rglob("*"))
        if path.suffix in (".pt", ".previous", ".json", ".jsonl", ".npz") and path.parent.name != "data"
    ]


def import_everything():
    """What a command would import, so that no child has to."""
    for name in ("matplotlib.backends.backend_pdf", "timm.scheduler", "timm.utils", "scipy.special", "tabulate"):
        importlib.import_module(name)
    for name in ("expected", "plan", "reproduce", "report"):
        importlib.import_module(f"hybrid.workflows.{name}")
    frechet.load_network("efficientnet_lite0", torch.device("cpu"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A home in which nothing went wrong, and the seconds that it took."""
    home = tmp_path_factory.mktemp("whole")
    draw = np.random.default_rng(0)
    labels = {f"{split}_labels": np.arange(n) % 2 for split, n in (("train", 48), ("test", 32))}
    pictures = {
        f"{split}_images": draw.integers(0, 256, (len(labels[f"{split}_labels"]), 32, 32, 3), dtype=np.uint8)
        for split in ("train", "test")
    }
    (home / "data").mkdir()
    np.savez(home / "data/tiny.npz", **pictures, **labels)
    os.utime(home / "data/tiny.npz", (1e9, 1e9))
    threads, draw_on = torch.get_num_threads(), Figure.savefig
    Figure.savefig = lambda self, path, **_: Path(path).write_bytes(PIXEL)  # most of a trial would be drawing
    torch.set_num_threads(1)  # a child of a process with threads of its own would hang in them
    import_everything()
    started = time.monotonic()
    status, error = run(home, REPRODUCE)
    assert status == 0, error
    yield home, time.monotonic() - started
    torch.set_num_threads(threads)
    Figure.savefig = draw_on


def killed(chance, home, whole, seconds):
    """Killed at a random moment, once or twice, and run again."""
    for name in ("runs", "results"):
        shutil.rmtree(home / name)
    for _ in range(chance.randint(1, 2)):
        run(home, REPRODUCE, after=chance.uniform(0, seconds), number=chance.choice(SIGNALS))
    return REPRODUCE


def killed_while_showing(chance, home, whole, seconds):
    """As above, with all of it trained: only judging, drawing and writing are cut."""
    shutil.rmtree(home / "results")
    run(home, REPRODUCE, after=chance.uniform(0, seconds / 2), number=chance.choice(SIGNALS))
    return REPRODUCE


def cut(chance, home, whole, seconds):
    """A file loses its end, or all of it."""
    path = chance.choice(kinds(home))
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])
    return REPRODUCE


def flipped(chance, home, whole, seconds):
    """One bit of a file is another."""
    path = chance.choice(kinds(home))
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return REPRODUCE


def replaced(chance, home, whole, seconds):
    """A file is whole and something else."""
    path = chance.choice(kinds(home))
    if path.suffix == ".npz":
        np.savez(path, other=np.zeros(3))
    elif path.suffix in (".pt", ".previous"):
        torch.save(chance.choice([[], {}, {"about": {}}, {"weights": torch.zeros(3)}]), path)
    else:
        path.write_text(chance.choice(["{}", "[]", "null", '{"key": {}}', '{"step": 1}', "\ufffd"]), encoding="utf-8")
    return REPRODUCE


def removed(chance, home, whole, seconds):
    """A file is gone."""
    chance.choice(kinds(home)).unlink()
    return REPRODUCE


def full(chance, home, whole, seconds):
    """No file can be longer than so many bytes, as on a full disk."""
    for name in ("runs", "results"):
        shutil.rmtree(home / name)
    most = chance.randint(20_000, 400_000)
    ended_with_a_line(*run(home, REPRODUCE, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))))
    return REPRODUCE


def read_only(chance, home, whole, seconds):
    """Nothing can be written, by the one command; the next can."""
    shutil.rmtree(home / "results")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def deny(event, arguments):
        changes = event in ("os.mkdir", "os.rename", "os.remove") or (event == "open" and arguments[2] & writing)
        if changes and str(arguments[0]).startswith(str(home)):
            raise PermissionError(13, "Permission denied", str(arguments[0]))

    status, error = run(home, REPRODUCE, before=lambda: sys.addaudithook(deny))
    assert status == 2, error
    ended_with_a_line(status, error)
    return REPRODUCE


def ended_with_a_line(status, error):
    """A command did all, or said in one line why not."""
    lines = [line for line in error.splitlines() if line.startswith("hybrid: ")]
    assert status == 0 or (status == 2 and len(lines) == 1), error


def two_at_once(chance, home, whole, seconds):
    """Two commands train in one folder: one of them is told, or waits for nothing."""
    shutil.rmtree(home / "runs")
    shutil.rmtree(home / "results")
    child = os.fork()
    if not child:
        os._exit(max(run(home, REPRODUCE)[0], 0))
    time.sleep(chance.uniform(0, seconds / 3))
    run(home, TRAIN)
    os.waitpid(child, 0)
    return REPRODUCE


FAULTS = (killed, killed_while_showing, cut, flipped, flipped, replaced, removed, full, read_only, two_at_once)


def test_nothing_is_lost(whole, tmp_path_factory, capsys):
    clean, seconds = whole
    expected, chance, lost, tried = essence(clean), random.Random(SEED), [], Counter()
    for number in range(TRIALS):
        fault = FAULTS[number % len(FAULTS)]
        home = tmp_path_factory.mktemp("trial")
        shutil.copytree(clean, home, dirs_exist_ok=True)
        tried[fault.__name__] += 1
        try:
            status, error = run(home, fault(chance, home, clean, seconds))
            assert status == 0, error
            assert "Traceback" not in error, error
            found = essence(home)
            differing = [name for name in expected if found.get(name) != expected[name]]
            assert not differing, f"{differing}\n{error}"
            assert not list(home.rglob(".*.[0-9]*")), "temporary files are left"
        except AssertionError as failure:
            lost.append(f"trial {number}, {fault.__name__}: {str(failure)[:1500]}")
        shutil.rmtree(home)
    counts = f"tried {TRIALS}, survived {TRIALS - len(lost)}, lost {len(lost)}"
    with capsys.disabled():
        print(f"\nfaults: {counts}; {json.dumps(tried)}; a run takes {seconds:.1f} s")
    assert not lost, "\n\n".join(lost)
    assert paths.REPOSITORY not in clean.parents
