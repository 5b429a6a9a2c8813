"""The training loop for all models. A `Trainable` provides parameters and a loss; the loop does the rest.

Every step seeds torch's generators from (seed, step), and (seed, epoch) determines the order of an epoch. So a killed run
continues from its checkpoint exactly as if it had not been killed (on a GPU, up to the rounding of its kernels), and no
generator's state has to be stored.

Several processes (see `distributed`) divide each batch among them and average their gradients. When a line of the history is
due, they agree on everything that depends on time or ends the training. Their hosts wait for each other only then.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from hybrid.errors import HybridError, TimeUp
from hybrid.machine import distributed
from hybrid.machine.compilation import GraphedStep, Step, compiled, graphs
from hybrid.machine.files import write_atomically
from hybrid.machine.fingerprint import modules, tell_difference
from hybrid.machine.memory import keep_freed
from hybrid.machine.precision import autocast
from hybrid.machine.provenance import machine, peak_memory, provenance, resumed
from hybrid.models.base import Trainable, stream
from hybrid.profiles.schema import Training, updated
from hybrid.training import checkpoint
from hybrid.training.history import append
from hybrid.training.history import restore as restore_history
from hybrid.training.optimisers import optimiser_for, schedule_for
from hybrid.training.progress import Progress

CHECKPOINT_SECONDS = 60.0  # most work that a kill can lose; several processes save only with a line of the history
LOGS_PER_EPOCH = 4  # lines of history
FINITE = "finite"  # name of a step's flag, next to its scalars


@dataclass
class Clock:
    """The time that a command may take, for all its trainings together."""

    limit: float | None = None  # seconds; None: no limit
    started: float = field(default_factory=time.monotonic)
    after: float | None = None  # seconds of the command's work after this training, if known

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
    kinds: Mapping[str, type] | None = None,
    clock: Clock | None = None,
    watch: Callable[[Trainable, dict], None] | None = None,
) -> Trainable:
    """Train on `data` (N, ...), which is already on the device, and return the trained (or averaged) module.

    The training continues from `folder`/checkpoint.pt if it exists, and returns at once if that is finished. It writes
    history.jsonl to the same folder. `about` identifies the model and its data (plain values); a checkpoint with another
    `about` is refused. `kinds`: the classes of the configs in `about`, by their names, to recognise those of earlier versions.
    `watch` is called with each line of the history and the module that would be returned at that point.
    Raises TimeUp if the time is up, and HybridError if a value is not finite or the batch cannot be split.
    """
    clock, device = clock or Clock(), data.device
    if device.type == "cpu":
        keep_freed()
    per_epoch = _steps_per_epoch(len(data), config)
    steps, log_every = config.epochs * per_epoch, max(per_epoch // LOGS_PER_EPOCH, 1)

    # Continue from a checkpoint
    trainable.to(device=device, memory_format=torch.channels_last).train()
    trainable.prepare(data)
    state = State(trainable, config, steps, folder, about, device)
    state.restore(kinds)
    step_all: Step = partial(_step, state)
    phase = None
    schedules = [schedule_for(optimiser, steps, config) for optimiser in state.optimisers.values() if steps > 1]
    rates = [(group, torch.zeros((), device=device)) for o in state.optimisers.values() for group in o.param_groups]
    own_stream = (distributed.rank(),) if distributed.rank() and not trainable.draws_for_all else ()
    saved, epoch, order = time.monotonic(), -1, torch.empty(0)

    shown = Progress(folder, state.step, steps, per_epoch, config.batch, trainable.time_share)
    with compiled(trainable.networks(), device), shown as progress:
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
            if state.graphed and phase != (phase := trainable.phase):  # a graph holds the operations of one phase
                step_all = GraphedStep(partial(_step, state))
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
            if log_now or save_now:  # the loop waits for the device only here, and for progress lines
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
                    raise TimeUp(f"{folder}: stopped at step {state.step} of {steps}; the same command continues from there")
    return state.usable.eval()


class State:
    """The state of a training: all that the next step depends on, with methods to save and restore it.

    A checkpoint has the provenance of the first command, and of commands that continued with other code or on another machine,
    and the peak memory of all.
    """

    def __init__(self, trainable: Trainable, config: Training, steps: int, folder: Path, about: dict, device: torch.device):
        from hybrid.training.averaging import average_of  # imports timm, which is slow

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
        self.step, self.sums = 0, {}  # sums of the scalars since the last line of the history
        self.history = ""  # the text of history.jsonl
        self.broken = torch.zeros((), dtype=torch.int64, device=device)  # the first step with a value that is not finite
        code = modules(type(trainable).__module__, __name__)
        self.origin, self.peak = provenance(**machine(device), modules=code), 0.0
        self.started = time.monotonic()  # excluding pauses

    @property
    def seconds(self) -> float:
        """The time of training so far, in all commands."""
        return time.monotonic() - self.started

    @property
    def usable(self) -> Trainable:
        """The module that is the result of the training."""
        return self.average.module if self.average is not None else self.trainable

    def add(self, scalars: dict[str, Tensor]) -> None:
        """Count a finished step and add its scalars."""
        self.step += 1
        for key, value in scalars.items():
            if key == FINITE:  # without waiting for the device
                self.broken = torch.where((self.broken == 0) & ~value, self.step, self.broken)
            else:
                self.sums[key] = self.sums.get(key, 0) + value
        if self.average is not None:
            self.average.update(self.trainable, self.step)

    def log(self, line: dict) -> None:
        """Append a line to the history."""
        self.history += json.dumps(line) + "\n"
        if distributed.rank() == 0:
            append(self.folder / "history.jsonl", line)

    def means(self, count: int) -> dict[str, float]:
        """Return the scalars' means over the last `count` steps and all processes. Raises HybridError if one is not finite."""
        values = {key: distributed.mean(value).item() / count for key, value in self.sums.items()}
        names = [key for key, value in values.items() if not math.isfinite(value)]
        broken = distributed.mean(self.broken.float()).item()  # in any of the processes
        if names or broken:
            self.stop_broken(names[0] if names else "a gradient", int(self.broken) or self.step)
        return values

    def stop_broken(self, what: str, step: int) -> NoReturn:
        """Save the state for inspection and end the training."""
        state = self.folder / "broken.pt"
        write_atomically(state, lambda temporary: torch.save(self.all, temporary))
        raise HybridError(
            f"{what} is no longer finite at step {step} of {self.folder}: lower the learning rate (lr = {self.lr}) and train "
            f"again; the checkpoint from before is kept, the broken state is in {state.name}"
        )

    def save(self) -> None:
        """Write the checkpoint. Raises HybridError if a weight is not finite."""
        for weights in (self.usable.state_dict(), self.trainable.state_dict()):
            if (name := checkpoint.not_finite(weights)) is not None:
                self.stop_broken(name, self.step)
        checkpoint.save(self.folder / "checkpoint.pt", self.all)

    @property
    def all(self) -> dict:
        """Return the content of a checkpoint."""
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

    def restore(self, kinds: Mapping[str, type] | None) -> None:
        """Restore the checkpoint if there is one. Raises HybridError if it belongs to another training."""
        history = self.folder / "history.jsonl"
        kept = _kept(self.trainable, self.folder, self.about, kinds)
        if kept is None:
            restore_history(history, "")
            return
        self.history = kept["history"]
        restore_history(history, self.history)
        self.trainable.load_state_dict(kept["model"])
        for name, optimiser in self.optimisers.items():
            for group in kept["optimisers"][name]["param_groups"]:
                group["capturable"] = self.graphed  # the checkpoint may come from another device
            optimiser.load_state_dict(kept["optimisers"][name])
        if self.average is not None:
            self.average.load_state_dict(kept["average"])
        self.step, self.sums = kept["step"], kept["sums"]
        self.started = time.monotonic() - kept["seconds"]
        self.origin, self.peak = resumed(kept["provenance"], self.origin), kept["provenance"]["peak_memory_gib"]


def _step(state: State, batch: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Take a step for all players; return the means of their scalars, and whether all losses and gradients were finite."""
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
    """Return whether the time is up, and whether a checkpoint is due."""
    return clock.up, time.monotonic() - saved > CHECKPOINT_SECONDS


def _steps_per_epoch(count: int, config: Training) -> int:
    """Return the number of whole batches in `count` examples. Raises HybridError if there are none or they cannot be split."""
    if config.batch > count:
        raise HybridError(f"batch = {config.batch} exceeds the {count} training examples: make it smaller")
    if config.batch % distributed.world():
        raise HybridError(f"batch = {config.batch} cannot be shared by {distributed.world()} processes: make it a multiple")
    return count // config.batch


def finished(trainable: Trainable, folder: Path, about: dict, kinds: Mapping[str, type] | None = None) -> Trainable | None:
    """Return `trainable` with the weights of the finished run in `folder`, or None if there is none."""
    state = _kept(trainable, folder, about, kinds)
    if state is None or state["step"] < state["steps"]:
        return None
    if state.get("history"):
        restore_history(folder / "history.jsonl", state["history"])
    trainable.load_state_dict(state["weights"])
    return trainable.to(memory_format=torch.channels_last).eval()


def _kept(trainable: Trainable, folder: Path, about: dict, kinds: Mapping[str, type] | None) -> dict | None:
    """Return the intact checkpoint of this training in a folder, or None. Raises HybridError for that of another training."""
    shapes = _shapes(trainable.state_dict())

    def fits(state: dict) -> None:
        _refuse_other(state["about"], about, kinds or {}, folder)
        tell_difference(str(folder), state["provenance"])
        if state["step"] > state["steps"] or not shapes == _shapes(state["weights"]) == _shapes(state["model"]):
            raise ValueError("its weights are not those of the network that it says it is of")

    return checkpoint.load(folder / "checkpoint.pt", fits)


def _shapes(weights: dict) -> dict[str, torch.Size]:
    return {name: getattr(value, "shape", None) for name, value in weights.items()}


def _refuse_other(found: dict, wanted: dict, kinds: Mapping[str, type], folder: Path) -> None:
    found = found | {name: updated(kind, found[name]) for name, kind in kinds.items() if name in found}
    flat_found, flat_wanted = _flat(found), _flat(wanted)
    key = next((key for key in flat_found | flat_wanted if flat_found.get(key) != flat_wanted.get(key)), None)
    if key is not None:
        instead = ", or give the changed profile as name,field=value" if key.startswith("config.") else ""
        raise HybridError(
            f"{folder} was trained with {key} = {flat_found.get(key)!r}, now it is {flat_wanted.get(key)!r}: "
            f"move that folder away{instead}"
        )


def _flat(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
