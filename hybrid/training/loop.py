"""The one training loop: a `Trainable` gives parameters and a loss, the loop does the rest.

Every step reseeds torch's generators from (seed, step), and the order of an epoch follows from (seed, epoch): a run that
was killed goes on from its checkpoint exactly as if nothing had happened (on a GPU, up to its kernels' rounding), with no
generator's state stored.

Several processes (see `distributed`) each take their share of every batch, which stays the batch of a step, and average
their gradients. They agree on whatever depends on time or ends the training where a line of the history falls due, and
the loop has their hosts wait for each other nowhere else.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from hybrid.errors import HybridError, TimeUp
from hybrid.machine import distributed
from hybrid.machine.compilation import GraphedStep, compiled, graphs
from hybrid.machine.files import write_atomically
from hybrid.machine.fingerprint import modules, tell_difference
from hybrid.machine.memory import keep_freed
from hybrid.machine.precision import autocast
from hybrid.machine.provenance import machine, peak_memory, provenance, resumed
from hybrid.models.base import Trainable, stream
from hybrid.profiles.schema import Training, updated
from hybrid.training import checkpoint
from hybrid.training.history import append, lines_until
from hybrid.training.history import restore as restore_history
from hybrid.training.optimisers import optimiser_for, schedule_for
from hybrid.training.progress import Progress

CHECKPOINT_SECONDS = 60.0  # work that a kill can cost, at most
LOGS_PER_EPOCH = 4  # lines of history
FINITE = "finite"  # what a step says of itself beside its scalars


@dataclass
class Clock:
    """The time that a command may take, shared by all that it trains."""

    limit: float | None = None  # seconds, None: no limit
    started: float = field(default_factory=time.monotonic)
    after: float | None = None  # seconds of the command's work after this training, where they are known

    def __post_init__(self):
        if self.limit is not None and not 0 <= self.limit < math.inf:
            raise HybridError(f"time_limit = {self.limit}: give seconds, 0 or more, or leave it out")

    @property
    def left(self) -> float | None:
        """Seconds until the limit, 0 or more; None without a limit."""
        return None if self.limit is None else max(self.limit - (time.monotonic() - self.started), 0.0)

    @property
    def up(self) -> bool:
        return self.limit is not None and time.monotonic() - self.started > self.limit


def train(
    trainable: Trainable,
    data: Tensor,
    labels: Tensor,
    config: Training,
    folder: Path,
    *,
    seed: int,
    about: dict,
    kind: type | None = None,
    clock: Clock | None = None,
    watch: Callable[[Trainable, dict], None] | None = None,
) -> Trainable:
    """Train on `data` (N, ...), which lies on the device already, and return what to use: the trained or averaged module.

    Goes on from `folder`/checkpoint.pt where there is one, and returns at once where that one is finished. Writes
    history.jsonl there. `about` says what is trained on what (plain values); a checkpoint with another `about` is refused.
    `kind`: the class that about's `config` describes, where there is one, so that earlier versions' checkpoints are known.
    `watch` is called with what would be kept, were the training over, and each line of the history.
    Raises TimeUp when the clock runs out, HybridError when a value is no longer finite or the batch cannot be split.
    """
    clock, device = clock or Clock(), data.device
    if device.type == "cpu":
        keep_freed()
    per_epoch = _steps_per_epoch(len(data), config)
    steps, log_every = config.epochs * per_epoch, max(per_epoch // LOGS_PER_EPOCH, 1)

    # Go on from a checkpoint
    trainable.to(device=device, memory_format=torch.channels_last).train()
    trainable.prepare(data)
    state = State(trainable, config, steps, folder, about, device)
    state.restore(kind)
    step_all = GraphedStep(partial(_step, state)) if state.graphed else partial(_step, state)
    schedules = [schedule_for(optimiser, steps, config) for optimiser in state.optimisers.values() if steps > 1]
    rates = [(group, torch.zeros((), device=device)) for o in state.optimisers.values() for group in o.param_groups]
    own_stream = (distributed.rank(),) if distributed.rank() and not trainable.draws_for_all else ()
    saved, epoch, order = time.monotonic(), -1, torch.empty(0)

    with compiled(trainable.networks(), device), Progress(folder, state.step, steps, per_epoch, config.batch) as progress:
        while state.step < steps:
            # Draw a batch
            if epoch != state.step // per_epoch:
                epoch = state.step // per_epoch
                generator = torch.Generator().manual_seed(stream(seed, "epoch", epoch))
                order = torch.randperm(len(data), generator=generator).to(device)
            place = state.step % per_epoch * config.batch
            chosen = distributed.shard(order[place : place + config.batch])

            # Update weights and their average
            torch.manual_seed(stream(seed, "step", state.step, *own_stream))
            for schedule in schedules:
                schedule.step_update(state.step)
            if state.graphed:  # a graph reads its rates from tensors
                for group, rate in rates:
                    group["lr"] = rate.fill_(group["lr"])
            trainable.progress = state.step / steps
            state.add(step_all(data[chosen], labels[chosen]))
            count = (state.step - 1) % log_every + 1
            progress.update(state.step, state.sums, count, clock.after)

            # Log, and save a checkpoint
            last = state.step == steps
            log_now = state.step % log_every == 0 or last
            up = due = False
            if log_now or distributed.world() == 1:
                up, due = distributed.on_rank_zero(partial(_demands, clock, saved))
            save_now = last or up or due
            if last:
                state.usable.finish(data)
            if log_now or save_now:  # the loop waits for the device here alone, and for a line a minute
                values = state.means(count)
            if log_now:
                line = {"step": state.step, "epoch": round(state.step / per_epoch, 3), "seconds": round(state.seconds, 2)}
                state.log(line | values)
                progress.show(values)
                if watch is not None and not distributed.rank():
                    watch(state.usable, line | values)
                state.sums = {}
            if save_now:
                state.save()
                saved = time.monotonic()
                if up and not last:
                    raise TimeUp(f"{folder}: stopped at step {state.step} of {steps}; the same command goes on from there")
    return state.usable.eval()


class State:
    """All that the next step of a training depends on, how it is saved and restored.

    A checkpoint keeps the provenance of the command that began, of those that went on with other code or elsewhere, and the
    peak of memory of all.
    """

    def __init__(self, trainable: Trainable, config: Training, steps: int, folder: Path, about: dict, device: torch.device):
        from hybrid.training.averaging import average_of  # imports timm, which takes its time

        self.trainable, self.steps, self.folder, self.about, self.device = trainable, steps, folder, about, device
        self.clip, self.lr = config.clip, config.lr
        self.graphed = trainable.repeats and distributed.world() == 1 and graphs(device)
        self.optimisers = {
            name: optimiser_for(trainable.player(name), config, self.graphed) for name in dict.fromkeys(trainable.players)
        }
        self.parameters = {name: [p for g in o.param_groups for p in g["params"]] for name, o in self.optimisers.items()}
        self.losses = {
            name: distributed.averaged(partial(trainable.loss, name), trainable.player(name), trainable.leaves_out)
            for name in self.optimisers
        }
        self.average = average_of(trainable, config)
        self.step, self.sums = 0, {}  # sums: of the scalars since the last line of the history
        self.history = ""  # the text of history.jsonl
        self.broken = torch.zeros((), dtype=torch.int64, device=device)  # the first step with a value that is not finite
        code = modules(type(trainable).__module__, __name__)
        self.origin, self.peak = provenance(**machine(device), modules=code), 0.0
        self.started = time.monotonic()  # as if without pauses

    @property
    def seconds(self) -> float:
        """Of training so far, in all commands."""
        return time.monotonic() - self.started

    @property
    def usable(self) -> Trainable:
        """The module that is kept for use."""
        return self.average.module if self.average is not None else self.trainable

    def add(self, scalars: dict[str, Tensor]) -> None:
        """A step is done; these are its scalars."""
        self.step += 1
        for key, value in scalars.items():
            if key == FINITE:  # without waiting for the device
                self.broken = torch.where((self.broken == 0) & ~value, self.step, self.broken)
            else:
                self.sums[key] = self.sums.get(key, 0) + value
        if self.average is not None:
            self.average.update(self.trainable, self.step)

    def log(self, line: dict) -> None:
        """One more line of the history."""
        self.history += json.dumps(line) + "\n"
        if distributed.rank() == 0:
            append(self.folder / "history.jsonl", line)

    def means(self, count: int) -> dict[str, float]:
        """The scalars' means over the last `count` steps and all processes. Raises HybridError where a value is not finite."""
        values = {key: distributed.mean(value).item() / count for key, value in self.sums.items()}
        names = [key for key, value in values.items() if not math.isfinite(value)]
        broken = distributed.mean(self.broken.float()).item()  # in any of the processes
        if names or broken:
            self.stop_broken(names[0] if names else "a gradient", int(self.broken) or self.step)
        return values

    def stop_broken(self, what: str, step: int) -> NoReturn:
        """Keep the state for a look and end the training."""
        state = self.folder / "broken.pt"
        write_atomically(state, lambda temporary: torch.save(self.all, temporary))
        raise HybridError(
            f"{what} is no longer finite at step {step} of {self.folder}: lower the learning rate (lr = {self.lr}) and train "
            f"again; the checkpoint from before is kept, the broken state is in {state.name}"
        )

    def save(self) -> None:
        """Write the checkpoint. Raises HybridError where a weight is not finite."""
        for weights in (self.usable.state_dict(), self.trainable.state_dict()):
            if (name := checkpoint.not_finite(weights)) is not None:
                self.stop_broken(name, self.step)
        checkpoint.save(self.folder / "checkpoint.pt", self.all)

    @property
    def all(self) -> dict:
        """What a checkpoint holds."""
        return {
            "about": self.about,
            "provenance": self.origin | {"peak_memory_gib": max(self.peak, peak_memory(self.device))},
            "step": self.step,
            "steps": self.steps,
            "sums": self.sums,
            "seconds": self.seconds,
            "history": self.history,
            "model": self.trainable.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "average": self.average.state_dict() if self.average is not None else None,
            "weights": self.usable.state_dict(),
        }

    def restore(self, kind: type | None) -> None:
        """Take up the checkpoint, where there is one. Raises HybridError where it is of something else."""
        history = self.folder / "history.jsonl"
        kept = _kept(self.trainable, self.folder, self.about, kind)
        if kept is None:
            restore_history(history, "")
            return
        self.history = kept.get("history") or lines_until(history, kept["step"])
        restore_history(history, self.history)
        self.trainable.load_state_dict(kept["model"])
        for name, optimiser in self.optimisers.items():
            for group in kept["optimisers"][name]["param_groups"]:
                group["capturable"] = self.graphed  # whoever trained before may have had another device
            optimiser.load_state_dict(kept["optimisers"][name])
        if self.average is not None:
            self.average.load_state_dict(kept["average"])
        self.step, self.sums = kept["step"], kept["sums"]
        self.started = time.monotonic() - kept["seconds"]
        self.origin, self.peak = resumed(kept["provenance"], self.origin), kept["provenance"]["peak_memory_gib"]


def _step(state: State, batch: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """One step of all players: the means of their scalars, and whether all losses and gradients were finite."""
    trainable, found = state.trainable, {}
    for name in trainable.players:
        with autocast(state.device):
            loss, scalars = state.losses[name](batch, labels)
        state.optimisers[name].zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(state.parameters[name], state.clip, foreach=state.device.type != "mps")
        state.optimisers[name].step()
        finite = torch.isfinite(norm) & torch.isfinite(loss.detach())
        found[FINITE] = finite & found.get(FINITE, finite)
        for key, value in scalars.items():
            found[key] = found.get(key, 0) + value.detach() / trainable.players.count(name)
    trainable.after_step()
    return found


def _demands(clock: Clock, saved: float) -> tuple[bool, bool]:
    """Whether time is up, and whether a checkpoint is due."""
    return clock.up, time.monotonic() - saved > CHECKPOINT_SECONDS


def _steps_per_epoch(count: int, config: Training) -> int:
    """Whole batches in `count` examples. Raises HybridError where there is none, or processes cannot split one."""
    if config.batch > count:
        raise HybridError(f"batch = {config.batch} exceeds the {count} training examples: make it smaller")
    if config.batch % distributed.world():
        raise HybridError(f"batch = {config.batch} cannot be shared by {distributed.world()} processes: make it a multiple")
    return count // config.batch


def finished(trainable: Trainable, folder: Path, about: dict, kind: type | None = None) -> Trainable | None:
    """`trainable` with the weights of a run that came to its end in `folder`, or None."""
    state = _kept(trainable, folder, about, kind)
    if state is None or state["step"] < state["steps"]:
        return None
    if state.get("history"):
        restore_history(folder / "history.jsonl", state["history"])
    trainable.load_state_dict(state["weights"])
    return trainable.to(memory_format=torch.channels_last).eval()


def _kept(trainable: Trainable, folder: Path, about: dict, kind: type | None) -> dict | None:
    """The checkpoint in a folder, None where there is none that is whole and fits. Raises HybridError for another's."""
    shapes = _shapes(trainable.state_dict())

    def fits(state: dict) -> None:
        _refuse_other(state["about"], about, kind, folder)
        tell_difference(str(folder), state["provenance"])
        if state["step"] > state["steps"] or not shapes == _shapes(state["weights"]) == _shapes(state["model"]):
            raise ValueError("its weights are not those of the network that it says it is of")

    return checkpoint.load(folder / "checkpoint.pt", fits)


def _shapes(weights: dict) -> dict[str, torch.Size]:
    return {name: getattr(value, "shape", None) for name, value in weights.items()}


def _refuse_other(found: dict, wanted: dict, kind: type | None, folder: Path) -> None:
    if kind is not None and "config" in found:
        found = found | {"config": updated(kind, found["config"])}
    flat_found, flat_wanted = _flat(found), _flat(wanted)
    # Earlier versions did not note which weights the codes were of.
    new = {key for key in ("encoder",) if key not in flat_found}
    other = [k for k in flat_found | flat_wanted if flat_found.get(k) != flat_wanted.get(k) and k not in new]
    if other:
        key = other[0]
        raise HybridError(
            f"{folder} was trained with {key} = {flat_found.get(key)!r}, now it is {flat_wanted.get(key)!r}: "
            "move that folder away, or give the changed profile as name,field=value"
        )


def _flat(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
