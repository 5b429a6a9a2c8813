"""Faults: whatever ends a command or becomes of its files, the same command ends with the same result, or with one clear line.

HYBRID_TRIALS trials, 20 here and 200 by `make test-faults`, each in a child of this process, which has imported everything.
Counts are printed by kind: tried, survived (the same result, bit for bit), stopped (with one line), lost.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from hybrid import paths, released
from hybrid.cli import main
from hybrid.experiments.store import Store
from hybrid.judging import frechet
from hybrid.machine import files
from hybrid.models.hybrid import Representation
from hybrid.profiles.overrides import profile
from hybrid.training import checkpoint, loop
from hybrid.training.history import read_history
from hybrid.workflows import work

resource = pytest.importorskip("resource")  # Windows has none
TRIALS = int(os.environ.get("HYBRID_TRIALS", "20"))
REPORT = os.environ.get("HYBRID_REPORT")  # a .json that the counts are written to, for the docs
SEED = int(os.environ.get("HYBRID_FAULT_SEED", "0"))  # another one tries other moments and places
PROFILE = (
    "smoke,hybrid.representation.training.batch=16,hybrid.prior.training.batch=16,hybrid.representation.contrast.key_batch=16,"
    "hybrid.representation.training.epochs=3,evaluation.samples=8"
)
REPRODUCE = ["reproduce", "--profile", PROFILE, "--dataset", "data/tiny.npz", "--methods", "hybrid", "--no-notebooks"]
NOTEBOOK = [argument for argument in REPRODUCE if argument != "--no-notebooks"]
TRAIN = ["train", "--profile", PROFILE, "--dataset", "data/tiny.npz", "--methods", "hybrid"]
SAMPLE = ["sample", "--run", "cifar10", "--count", "2", "--steps", "2", "--out", "new.npz"]
LIMIT = 120  # seconds after which a command hangs
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
    ends = time.monotonic() + LIMIT
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1]), said.read_text(encoding="utf-8") if said.exists() else ""


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
        elif path.suffix == ".ipynb" and "runs" in path.parts and not path.name.startswith("."):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            found[name] = [output.get("text") for cell in cells for output in cell.get("outputs", [])]
    return found


# The kinds of files that are kept, whatever a command could believe: all of them are made anew from what they came of.
KEPT = {
    "checkpoint": "runs/**/checkpoint.pt",
    "checkpoint before the last": "runs/**/checkpoint.pt.previous",
    "history": "runs/**/history.jsonl",
    "kept history": "results/**/*.jsonl",
    "outcome": "results/**/seed0/*.json",
    "table's sources": "results/**/table1.json",
    "arrays": "results/**/*.npz",
    "distances' reference": "runs/cache/*.npz",
    "data set's identity": "runs/cache/*.json",
}


def one_of(chance: random.Random, home: Path, number: int) -> tuple[str, Path]:
    """A kind of kept file, each in its turn, and a file of it."""
    kind = list(KEPT)[number % len(KEPT)]
    return kind, chance.choice(sorted(home.glob(KEPT[kind])))


def import_everything():
    """What a command would import, so that no child has to."""
    for name in ("matplotlib.backends.backend_pdf", "timm.scheduler", "timm.utils", "scipy.special", "tabulate"):
        importlib.import_module(name)
    for name in ("expected", "plan", "reproduce", "report"):
        importlib.import_module(f"hybrid.workflows.{name}")
    work.operations(Representation(profile("smoke").hybrid.representation), 8)  # with torch's counter of operations


def small_network(device: torch.device) -> frechet.FeatureNetwork:
    """In EfficientNet's place, whose features have so many dimensions that their distances would be most of a trial."""
    name = "efficientnet_lite0"
    return frechet.FeatureNetwork(f"fd_{name}", f"kd_{name}", "small", lambda x: x[:, :, ::16, ::16].flatten(1), device)


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
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(frechet.NETWORKS, "efficientnet_lite0", small_network)
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)  # with each line of the history, so that there is one before the last
        patch.setattr(Figure, "savefig", lambda self, path, **_: Path(path).write_bytes(PIXEL))  # drawing is slow
        torch.set_num_threads(1)  # a child of a process with threads of its own would hang in them
        try:
            import_everything()
            started = time.monotonic()
            status, error = run(home, REPRODUCE)
            assert status == 0, error
            yield home, time.monotonic() - started
        finally:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class Trial:
    """What a fault is tried on."""

    chance: random.Random
    home: Path
    seconds: float  # that a whole run takes
    number: int  # so many trials of the fault were before


@dataclass(frozen=True)
class Then:
    """The command that is run after a fault, and what must come of it."""

    what: str = ""  # was hit
    command: tuple[str, ...] = tuple(REPRODUCE)
    before: Callable[[], object] | None = None  # called in the command's process first
    stops: bool = False  # with one line; otherwise it ends with the same result
    same: Callable[[dict, dict], bool] = dict.__eq__  # of what is expected and found


def killed(trial: Trial) -> Then:
    """Killed at a random moment, once or twice, and run again."""
    for name in ("runs", "results"):
        shutil.rmtree(trial.home / name)
    for _ in range(trial.chance.randint(1, 2)):
        run(trial.home, REPRODUCE, after=trial.chance.uniform(0, trial.seconds), number=trial.chance.choice(SIGNALS))
    return Then()


def killed_while_showing(trial: Trial) -> Then:
    """As above, with all of it trained: only judging, drawing and writing are cut."""
    shutil.rmtree(trial.home / "results")
    run(trial.home, REPRODUCE, after=trial.chance.uniform(0, trial.seconds / 2), number=trial.chance.choice(SIGNALS))
    return Then()


def cut(trial: Trial) -> Then:
    """A file loses its end, or all of it."""
    kind, path = one_of(trial.chance, trial.home, trial.number)
    content = path.read_bytes()
    path.write_bytes(content[: trial.chance.randrange(len(content))])
    return Then(kind)


def flipped(trial: Trial) -> Then:
    """One bit of a file is another."""
    kind, path = one_of(trial.chance, trial.home, trial.number)
    flip(path, trial.chance)
    return Then(kind)


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def replaced(trial: Trial) -> Then:
    """A file is whole and something else."""
    kind, path = one_of(trial.chance, trial.home, trial.number)
    if path.suffix == ".npz":
        np.savez(path, other=np.zeros(3))
    elif path.suffix in (".pt", ".previous"):
        with open(path, "wb") as file:  # a name that ends in .previous would become the archive's
            torch.save(trial.chance.choice([[], {}, {"about": {}}, {"weights": torch.zeros(3)}]), file)
    else:
        path.write_text(trial.chance.choice(["{}", "[]", "null", '{"key": {}}', '{"step": 1}', "\ufffd"]), encoding="utf-8")
    return Then(kind)


def removed(trial: Trial) -> Then:
    """A file is gone."""
    kind, path = one_of(trial.chance, trial.home, trial.number)
    path.unlink()
    return Then(kind)


def data_damaged(trial: Trial) -> Then:
    """The user's own data set is cut, or something else: nothing can make it anew, and nothing is kept of other images."""
    path = trial.home / "data/tiny.npz"
    kind = ("cut", "not an archive", "lacks its labels")[trial.number % 3]
    if kind == "cut":
        path.write_bytes(path.read_bytes()[: trial.chance.randrange(path.stat().st_size)])
    elif kind == "not an archive":
        path.write_text("images")
    else:
        np.savez(path, train_images=np.zeros((4, 32, 32, 3), np.uint8))
    return Then(kind, stops=True)


def weights_damaged(trial: Trial) -> Then:
    """Released weights are cut, flipped or gone."""
    folder = trial.home / "weights"
    shutil.copytree(released.FOLDER, folder)
    path = folder / "cifar10.safetensors"
    kind = ("flipped", "cut", "gone")[trial.number % 3]
    if kind == "flipped":
        flip(path, trial.chance)
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[: trial.chance.randrange(path.stat().st_size)])
    else:
        path.unlink()
    return Then(kind, tuple(SAMPLE), before=lambda: setattr(released, "FOLDER", folder), stops=True)


def full(trial: Trial) -> Then:
    """No file can be longer than so many bytes, as on a full disk."""
    for name in ("runs", "results"):
        shutil.rmtree(trial.home / name)
    most = trial.chance.randint(20_000, 400_000)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # noqa: E731
    ended_with_a_line(*run(trial.home, REPRODUCE, before=limit))
    return Then()


def read_only(trial: Trial) -> Then:
    """Nothing can be written, by the one command; the next can."""
    shutil.rmtree(trial.home / "results")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def deny(event, arguments):
        changes = event in ("os.mkdir", "os.rename", "os.remove") or (event == "open" and arguments[2] & writing)
        if changes and str(arguments[0]).startswith(str(trial.home)):
            raise PermissionError(13, "Permission denied", str(arguments[0]))

    status, error = run(trial.home, REPRODUCE, before=lambda: sys.addaudithook(deny))
    assert status == 2, error
    ended_with_a_line(status, error)
    return Then()


def ended_with_a_line(status: int, error: str) -> None:
    """A command did all, or said in one line why not."""
    lines = [line for line in error.splitlines() if line.startswith("hybrid: ")]
    assert status == 0 or (status == 2 and len(lines) == 1), error


def two_at_once(trial: Trial) -> Then:
    """Two commands train in one folder: one of them is told, or waits for nothing."""
    shutil.rmtree(trial.home / "runs")
    shutil.rmtree(trial.home / "results")
    child = os.fork()
    if not child:
        os._exit(max(run(trial.home, REPRODUCE)[0], 0))
    time.sleep(trial.chance.uniform(0, trial.seconds / 3))
    run(trial.home, TRAIN)
    os.waitpid(child, 0)
    return Then()


def other_processes(trial: Trial) -> Then:
    """Two processes train together and are killed; one goes on. Sums are in another order then, so numbers are not the same."""
    shutil.rmtree(trial.home / "runs")
    shutil.rmtree(trial.home / "results")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both, after = [], trial.chance.uniform(0, 2 * trial.seconds)
    for rank in range(2):
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        both.append(os.fork())
        if not both[-1]:
            os.environ.update({name: str(value) for name, value in names.items()})
            run(trial.home, TRAIN, after=after)
            os._exit(0)
    for child in both:
        os.waitpid(child, 0)

    def alike(expected: dict, found: dict) -> bool:
        """The same files, each history with the same steps; `essence` has read them all."""
        steps = [{n: [line["step"] for line in h] for n, h in e.items() if n.endswith(".jsonl")} for e in (expected, found)]
        return expected.keys() == found.keys() and steps[0] == steps[1]

    return Then(same=alike)


def notebook_killed(trial: Trial) -> Then:
    """Killed while papermill executes a notebook."""
    folder = trial.home / "notebooks"
    folder.mkdir()
    shutil.copy(paths.REPOSITORY / "notebooks/table1.ipynb", folder)
    use = lambda: setattr(paths, "notebooks", lambda: folder)  # noqa: E731
    run(trial.home, NOTEBOOK, before=use, after=trial.chance.uniform(0.5, 12), number=trial.chance.choice(SIGNALS))

    def executed(expected: dict, found: dict) -> bool:
        """As before, and with one notebook whose cells said something."""
        made = {name: outputs for name, outputs in found.items() if name.endswith(".ipynb")}
        return len(made) == 1 and any(*made.values()) and expected | made == found

    return Then(command=tuple(NOTEBOOK), before=use, same=executed)


FAULTS = (
    killed,
    killed_while_showing,
    cut,
    flipped,
    replaced,
    removed,
    full,
    read_only,
    two_at_once,
    other_processes,
    data_damaged,
    weights_damaged,
)
NOTEBOOKS = 2  # trials among 50 or more: each takes half a minute


def test_nothing_is_lost(whole, tmp_path_factory, capsys):
    clean, seconds = whole
    expected, chance, lost, counts = essence(clean), random.Random(SEED), [], {}
    faults = [notebook_killed] * (NOTEBOOKS if TRIALS >= 50 else 0)
    faults += [FAULTS[number % len(FAULTS)] for number in range(TRIALS - len(faults))]
    for number, fault in enumerate(faults):
        home = tmp_path_factory.mktemp("trial")
        shutil.copytree(clean, home, dirs_exist_ok=True)
        what = fault.__name__
        try:
            then = fault(Trial(chance, home, seconds, faults[:number].count(fault)))
            what = f"{what}: {then.what}".removesuffix(": ")
            status, error = run(home, list(then.command), then.before)
            assert "Traceback" not in error, error
            assert not list(home.rglob(".*.[0-9]*")), "temporary files are left"
            if then.stops:
                assert status == 2, error
                ended_with_a_line(status, error)
                ended = "stopped"
            else:
                assert status == 0, error
                found, ended = essence(home), "survived"
                differing = [name for name in expected if found.get(name) != expected[name]]
                assert then.same(expected, found), f"{differing}\n{error}"
        except AssertionError as failure:
            ended = "lost"
            lost.append(f"trial {number}, {what}: {str(failure)[:1500]}")
        counts.setdefault(what, Counter())[ended] += 1
        shutil.rmtree(home)
        if REPORT:  # after each trial, so that a run that is cut has told what it found
            files.write_json(paths.REPOSITORY / REPORT, {what: dict(counts[what]) for what in sorted(counts)})
        if TRIALS >= 26:  # long enough to be watched
            with capsys.disabled():
                print(f"{number + 1:4} of {TRIALS}: {what}: {ended}", flush=True)
    with capsys.disabled():
        print(f"\nfaults: {in_words(sum(counts.values(), Counter()))}; a run takes {seconds:.1f} s")
        for what in sorted(counts) if TRIALS >= 26 else ():
            print(f"  {what:38} {in_words(counts[what])}")
    assert not lost, "\n\n".join(lost)
    assert paths.REPOSITORY not in clean.parents


def in_words(count: Counter) -> str:
    return f"tried {sum(count.values())}, " + ", ".join(f"{end} {count[end]}" for end in ("survived", "stopped", "lost"))
