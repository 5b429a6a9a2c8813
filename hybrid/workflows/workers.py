"""Train and judge methods at the same time, in worker processes that share the CPU's cores.

The networks are small. On two cores, two trainings with one thread each process 1.15 to 1.2 times as many images per second as
one training with two threads.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import NoReturn, cast

import torch
from tqdm import tqdm

from hybrid.errors import HybridError, TimeUp, silent
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS, method
from hybrid.machine import distributed, fingerprint
from hybrid.training import progress
from hybrid.training.loop import Clock
from hybrid.workflows.plan import Work

JOBS = 2  # by default; more would need more memory
WORTHWHILE = 60.0  # smallest amount of work, in seconds, that is worth the few seconds to start the workers
LINE_SECONDS = 20.0  # seconds between a worker's progress lines


@dataclass(frozen=True)
class Settings:
    """All that a worker needs to build the parent's experiment."""

    profile: str
    dataset: str
    seed: int
    time_left: float | None  # seconds
    threads: int
    strict: bool


@dataclass
class Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection  # names of methods go in; None or an exception comes out


def check(wanted: int | None) -> None:
    """Raise HybridError for a number of jobs below 1."""
    if wanted is not None and wanted < 1:
        raise HybridError(f"jobs = {wanted}: give the number of methods to train at the same time, 1 or more")


def jobs(wanted: int | None, experiment: Experiment, work: Work) -> int:
    """Return the number of methods to train at the same time: `wanted`, or else one that suits the machine and the work.

    Raises HybridError for a number above 1 if torchrun started several processes.
    """
    if distributed.world() > 1:
        if wanted is not None and wanted > 1:
            raise HybridError(f"jobs = {wanted}: the processes of torchrun train one method at a time; leave the option out")
        return 1
    most = sum(method(name).first not in work.to_make for name in work.to_make)  # the others wait for one of these
    if wanted is not None:
        return max(min(wanted, most), 1)
    suits = experiment.device.type == "cpu" and torch.get_num_threads() >= JOBS and sum(work.costs.values()) > WORTHWHILE
    return JOBS if suits and most > 1 else 1


def make(experiment: Experiment, work: Work, count: int) -> None:
    """Train and judge the methods of `work` in `count` workers. A method waits for the one whose first stage it reuses.

    Raises TimeUp when the time is up, and HybridError when a method fails; the other workers then stop too.
    """
    waiting, running, done, stopped = list(work.to_make), {}, [], None
    # Start the longest methods first, so that no worker has to finish a long one alone at the end.
    needed = {method(name).first for name in waiting}
    waiting.sort(key=lambda name: (name not in needed, -work.costs[name]))
    workers = [_start(experiment, count) for _ in range(count)]
    idle = workers.copy()
    try:
        while waiting or running:
            busy = [name for _, name in running.values()]
            for name in [name for name in waiting if method(name).first not in (*waiting, *busy)][: len(idle)]:
                waiting.remove(name)
                worker = idle.pop()
                worker.connection.send(name)
                running[worker.connection] = worker, name
                work.announce(name, done, [name for _, name in running.values()])
            for ready in wait(list(running)):
                worker, name = running.pop(cast("Connection", ready))
                error = _answer(worker, name)
                if isinstance(error, TimeUp):  # the other workers stop at their own next checkpoint
                    stopped = error
                    waiting.clear()
                elif error is not None:
                    raise error
                done.append(name)
                idle.append(worker)
        if stopped is not None:
            raise stopped
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _start(experiment: Experiment, count: int) -> Worker:
    context = multiprocessing.get_context("spawn")  # a forked process could not use torch's threads
    clock = experiment.clock
    settings = Settings(
        profile=experiment.profile.name,
        dataset=experiment.dataset,
        seed=experiment.seed,
        time_left=clock.left,
        threads=max(torch.get_num_threads() // count, 1),
        strict=fingerprint.strict.get(),
    )
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, settings), daemon=True)
    process.start()
    there.close()  # so that the end of the process ends the connection
    return Worker(process, here)


def _answer(worker: Worker, name: str) -> Exception | None:
    """Return what a worker says after a method: None, or the exception that ended it."""
    try:
        return worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"status {code}, see above"
        return HybridError(
            f"the process that trained or judged {METHODS[name].title} ended with {how}: the last checkpoint is kept, and the "
            "same command continues from there; if memory was short, add --jobs 1"
        )


def _work(connection: Connection, settings: Settings) -> NoReturn:
    """Make the methods whose names arrive until the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(settings.threads)
    fingerprint.strict.set(settings.strict)
    progress.line_seconds.set(LINE_SECONDS)
    tqdm.set_lock(threading.RLock())  # its own is shared by processes, and would be left behind
    experiment = None
    while True:
        name = connection.recv()
        try:
            if experiment is None:
                with silent():  # the parent has logged the same lines
                    experiment = Experiment(settings.profile, settings.dataset, settings.seed, Clock(settings.time_left))
            experiment.make(name)
        except (HybridError, TimeUp, OSError) as error:
            connection.send(error)
        else:
            connection.send(None)


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """End this process when its parent ends, even by SIGKILL. Otherwise it would keep training, with its folder locked."""
    wait([parent.sentinel])
    print("the command has ended: its workers end too", file=sys.stderr, flush=True)
    signal.raise_signal(signal.SIGTERM)
