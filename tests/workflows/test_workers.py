"""Methods that are trained at the same time, in worker processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hybrid.cli import main
from hybrid.errors import HybridError, TimeUp
from hybrid.experiments.experiment import Experiment
from hybrid.workflows import reproduce, workers
from hybrid.workflows.plan import KINDS, Work

SHORT = ["reproduce", "--profile", "smoke", "--methods", "hybridplus", "mocov2", "--no-notebooks"]


@pytest.mark.slow
def test_workers_give_the_same_numbers_as_one_process(done, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path))
    monkeypatch.setattr(reproduce, "_show", lambda *_: tmp_path)  # no figures
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # one for each worker; `done` was made with one too, as all tests
    try:
        assert main([*SHORT, "--jobs", "2"]) == 0
    finally:
        torch.set_num_threads(before)
    told = capsys.readouterr().err
    assert told.index("[1/4] Hybrid\n") < told.index("[3/4] Hybrid+\n") and "[2/4] MoCo-v2\n" in told
    for name in ("hybrid", "hybridplus", "mocov2"):
        place = f"results/smoke/digits/seed0/{name}.json"
        found, alone = (json.loads((home / place).read_text()) for home in (tmp_path, done))
        assert found["metrics"].keys() == alone["metrics"].keys()
        if before == 1:  # else sums have another order
            assert found["metrics"] == alone["metrics"]
        assert found["provenance"]["device"].startswith("1 core of")
    # The next time all is there, and no worker starts.
    monkeypatch.setattr(workers, "make", lambda *_: pytest.fail("made again"))
    assert main([*SHORT, "--jobs", "2"]) == 0


@pytest.mark.parametrize(
    ("answers", "made"),
    [
        ({}, {"hybrid", "mocov2", "nvae", "hybridplus"}),
        ({"mocov2": TimeUp("stopped")}, {"hybrid", "mocov2"}),  # what runs comes to its end, nothing else begins
        ({"hybrid": HybridError("broken")}, {"hybrid", "mocov2"}),
        ({"hybrid": PermissionError("read-only")}, {"hybrid", "mocov2"}),
    ],
)
def test_a_method_that_stops_or_fails_ends_the_others(monkeypatch, answers, made):
    """Threads in the place of the worker processes answer as they are told."""
    begun = []
    both, waits = threading.Barrier(2), threading.Event()  # both begin; the hybrid waits until MoCo-v2 has ended

    def start(*_):
        here, there = workers.multiprocessing.Pipe()

        def work():
            while (name := there.recv()) is not None:
                begun.append(name)
                if name in ("hybrid", "mocov2"):
                    both.wait(60)
                if name == "hybrid":
                    waits.wait(60)
                there.send(answers.get(name))
                if name == "mocov2":
                    waits.set()

        threading.Thread(target=work, daemon=True).start()
        return workers.Worker(SimpleNamespace(terminate=lambda: here.send(None), join=lambda: None), here)

    monkeypatch.setattr(workers, "_start", start)
    names = ("hybrid", "hybridplus", "mocov2", "nvae")
    work = Work(names, False, dict.fromkeys([(name, kind) for name in names for kind in KINDS], 1.0))
    with pytest.raises((TimeUp, HybridError, OSError)) if answers else nullcontext():
        workers.make(None, work, 2)
    assert set(begun[:2]) == {"hybrid", "mocov2"}  # Hybrid+ reuses the hybrid's first stage, and waits for it
    assert made <= set(begun) and (not answers or "hybridplus" not in begun)


@pytest.mark.slow
@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="finds the workers in /proc")
def test_workers_do_not_outlive_a_killed_command(home):
    long = [*SHORT, "--profile", "smoke,hybrid.representation.training.epochs=5000", "--jobs", "2"]
    command = subprocess.Popen([sys.executable, "-m", "hybrid.cli", *long])
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    trains = home / "runs"
    try:
        wait_for(lambda: any(trains.rglob("history.jsonl")))
        found = [int(pid) for pid in children.read_text().split()]
    finally:  # also if it is too slow: it would train for hours
        command.send_signal(signal.SIGKILL)
        command.wait()
    assert len(found) >= 2
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found))


def test_a_worker_that_dies_is_told_in_a_line(home):
    context = workers.multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=os._exit, args=(3,))
    process.start()
    there.close()
    error = workers._answer(workers.Worker(process, here), "mocov2")
    assert "MoCo-v2 ended with status 3" in str(error) and "--jobs 1" in str(error)


@pytest.mark.parametrize("wanted", [0, -2])
def test_wrong_numbers_of_jobs_are_refused(home, capsys, wanted):
    assert main([*SHORT, "--jobs", str(wanted)]) == 2
    told = capsys.readouterr().err
    assert f"jobs = {wanted}" in told and "training" not in told.replace("train at the same time", "")


def test_short_work_and_single_methods_need_no_workers(home, monkeypatch):
    experiment = Experiment("smoke")
    parts = {(name, kind): 20.0 for name in ("hybrid", "mocov2") for kind in KINDS}
    long = Work(("hybrid", "mocov2"), False, parts)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert workers.jobs(None, experiment, long) == (2 if experiment.device.type == "cpu" else 1)
    assert workers.jobs(4, experiment, long) == 2
    plus = {(name, kind): 20.0 for name in ("hybrid", "hybridplus") for kind in KINDS}
    assert workers.jobs(None, experiment, Work(("hybrid", "hybridplus"), False, plus)) == 1  # one waits for the other
    three = Work(("hybrid", "hybridplus", "mocov2"), False, plus | parts)
    assert workers.jobs(None, experiment, three) == workers.jobs(None, experiment, long)
    alone = Work(long.methods, False, parts | dict.fromkeys([("mocov2", kind) for kind in KINDS], 0.0))
    assert workers.jobs(None, experiment, alone) == 1
    assert workers.jobs(None, experiment, Work(long.methods, False, dict.fromkeys(parts, 5.0))) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert workers.jobs(None, experiment, long) == 1


def wait_for(condition, seconds: float = 300.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)
