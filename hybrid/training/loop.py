"""The one training loop: a `Trainable` gives parameters and a loss, the loop does the rest.

Every step reseeds torch's generators from (seed, step), and the order of an epoch follows from (seed, epoch): a run that
was killed goes on from its checkpoint exactly as if nothing had happened (on a GPU, up to its kernels' rounding), with no
generator's state stored.

Several processes (see `distributed`) each take their share of every batch, which stays the batch of a step, and average
their gradients. They agree on whatever depends on time or ends the training where a line of the history falls due, and
the loop has their hosts wait for each other nowhere else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from hybrid.errors import HybridError, TimeUp
from hybrid.machine import distributed
from hybrid.machine.compilation import GraphedStep, compiled, graphs
from hybrid.machine.memory import keep_freed
from hybrid.machine.precision import autocast
from hybrid.machine.provenance import machine, peak_memory, provenance, resumed
from hybrid.models.base import Trainable, stream
from hybrid.profiles.schema import Training, updated
from hybrid.training import checkpoint
from hybrid.training.history import append, cut_history
from hybrid.training.optimisers import optimiser_for, schedule_for
from hybrid.training.progress import Progress

CHECKPOINT_SECONDS = 60.0  # work that a kill can cost, at most
LOGS_PER_EPOCH = 4  # lines of history


@dataclass
class Clock:
    """The time that a command may take, shared by all that it trains."""

    limit: float | None = None  # seconds, None: no limit
    started: float = field(default_factory=time.monotonic)
    after: float | None = None  # seconds of the command's work after this training, where they are known

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
    Raises TimeUp when the clock runs out, HybridError when the loss is no longer finite or the batch cannot be split.
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
    history = folder / "history.jsonl"
    cut_history(history, state.step)
    step_all = GraphedStep(partial(_step, state)) if state.graphed else partial(_step, state)
    schedules = [schedule_for(optimiser, steps, config) for optimiser in state.optimisers.values()]
    rates = [(group, torch.zeros((), device=device)) for o in state.optimisers.values() for group in o.param_groups]
    own_stream = (distributed.rank(),) if distributed.rank() and not trainable.draws_for_all else ()
    saved, epoch, order = time.monotonic(), -1, None

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
                values = state.means(count, config.lr)
            if log_now:
                if not distributed.rank():
                    line = {"step": state.step, "epoch": round(state.step / per_epoch, 3), "seconds": round(state.seconds, 2)}
                    append(history, line | values)
                    progress.show(values)
                    if watch is not None:
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
        self.clip = config.clip
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
        self.origin, self.peak = provenance(**machine(device)), 0.0
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
        for key, value in scalars.items():
            self.sums[key] = self.sums.get(key, 0) + value
        self.step += 1
        if self.average is not None:
            self.average.update(self.trainable, self.step)

    def means(self, count: int, lr: float) -> dict[str, float]:
        """The scalars' means over the last `count` steps and all processes. Raises HybridError where one is not finite."""
        values = {key: distributed.mean(value).item() / count for key, value in self.sums.items()}
        broken = [key for key, value in values.items() if not math.isfinite(value)]
        if broken:
            raise HybridError(
                f"{broken[0]} is no longer finite at step {self.step} of {self.folder}: lower the learning rate "
                f"(lr = {lr}) and train again; the checkpoint from before is kept"
            )
        return values

    def save(self) -> None:
        checkpoint.save(
            self.folder / "checkpoint.pt",
            {
                "about": self.about,
                "provenance": self.origin | {"peak_memory_gib": max(self.peak, peak_memory(self.device))},
                "step": self.step,
                "steps": self.steps,
                "sums": self.sums,
                "seconds": self.seconds,
                "model": self.trainable.state_dict(),
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
                "average": self.average.state_dict() if self.average is not None else None,
                "weights": self.usable.state_dict(),
            },
        )

    def restore(self, kind: type | None) -> None:
        """Take up the checkpoint, where there is one. Raises HybridError where it is of something else."""
        kept = checkpoint.load(self.folder / "checkpoint.pt")
        if kept is None:
            return
        _refuse_other(kept["about"], self.about, kind, self.folder)
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
    """One step of all players: the means of their scalars."""
    trainable, found = state.trainable, {}
    for name in trainable.players:
        with autocast(state.device):
            loss, scalars = state.losses[name](batch, labels)
        state.optimisers[name].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(state.parameters[name], state.clip, foreach=state.device.type != "mps")
        state.optimisers[name].step()
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
    state = checkpoint.load(folder / "checkpoint.pt")
    if state is None:
        return None
    _refuse_other(state["about"], about, kind, folder)
    if state["step"] < state["steps"]:
        return None
    trainable.load_state_dict(state["weights"])
    return trainable.to(memory_format=torch.channels_last).eval()


def _refuse_other(found: dict, wanted: dict, kind: type | None, folder: Path) -> None:
    if kind is not None and "config" in found:
        found = found | {"config": updated(kind, found["config"])}
    flat_found, flat_wanted = _flat(found), _flat(wanted)
    other = [k for k in flat_found | flat_wanted if flat_found.get(k) != flat_wanted.get(k)]
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
