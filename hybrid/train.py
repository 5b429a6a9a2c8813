"""The one training loop: a `Trainable` gives parameters and a loss, the loop does the rest.

Every step reseeds torch's generators from (seed, step), and the order of an epoch follows from (seed, epoch): a run that
was killed goes on from its checkpoint exactly as if nothing had happened (on a GPU, up to its kernels' rounding), with no
generator's state stored.

Several processes (see `distributed`) each take their share of every batch, which stays the batch of a step, and average
their gradients. They agree on whatever depends on time or ends the training where a line of the history falls due, and
the loop has their hosts wait for each other nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from hybrid import checkpoint, distributed
from hybrid.compilation import GraphedStep, compiled, graphs
from hybrid.configs import Training
from hybrid.errors import HybridError, TimeUp
from hybrid.precision import autocast
from hybrid.progress import Progress
from hybrid.provenance import machine, peak_memory, provenance, resumed

CHECKPOINT_SECONDS = 60.0  # work that a kill can cost, at most
LOGS_PER_EPOCH = 4  # lines of history


class Trainable(nn.Module):
    """What the loop trains: a module with a loss, and optionally several players that take turns (a GAN's two)."""

    players: tuple[str, ...] = ("model",)  # one optimiser step each, in this order, every step; a name may come again
    progress: float = 0.0  # share of the training that is done, in [0, 1); the loop sets it before every step
    # Whether `loss` draws for the images of all processes and takes its share, as `augment` does: all are then seeded alike,
    # and several draw what one would. Otherwise each has a stream of its own.
    draws_for_all: bool = False
    leaves_out: bool = False  # whether a step's loss may leave some of the player's parameters out
    repeats: bool = False  # whether all steps are the same operations on tensors alone, so that a GPU can replay one

    def networks(self) -> list[nn.Module]:
        """The submodules that do most of the work of a step, for `compilation`."""
        return []

    def player(self, name: str) -> nn.Module:
        """The module whose parameters that player's optimiser moves."""
        return self

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, and scalars for the history."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called once all players have moved."""

    def finish(self, data: Tensor) -> None:
        """Called once the last step is done, with all of the data, on the module that is kept for use."""


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
    clock: Clock | None = None,
) -> Trainable:
    """Train on `data` (N, ...), which lies on the device already, and return what to use: the trained or averaged module.

    Goes on from `folder`/checkpoint.pt where there is one, and returns at once where that one is finished. Writes
    history.jsonl there. `about` says what is trained on what (plain values); a checkpoint with another `about` is refused.
    The checkpoint keeps the provenance of the command that began, of those that went on with other code or elsewhere, and
    the peak of memory of all.
    Raises TimeUp when the clock runs out, HybridError when the loss is no longer finite or the batch cannot be shared out.
    """
    clock = clock or Clock()
    device = data.device
    path, history = folder / "checkpoint.pt", folder / "history.jsonl"
    per_epoch = len(data) // config.batch
    if per_epoch == 0:
        raise HybridError(f"batch = {config.batch} exceeds the {len(data)} training examples: make it smaller")
    if config.batch % distributed.world():
        raise HybridError(f"batch = {config.batch} cannot be shared by {distributed.world()} processes: make it a multiple")
    steps, log_every = config.epochs * per_epoch, max(per_epoch // LOGS_PER_EPOCH, 1)

    from hybrid.average import average_of  # imports timm, which takes its time

    # Model, optimisers, averages
    trainable.to(device=device, memory_format=torch.channels_last).train()
    graphed = trainable.repeats and distributed.world() == 1 and graphs(device)
    optimisers = {name: optimiser_for(trainable.player(name), config, graphed) for name in dict.fromkeys(trainable.players)}
    parameters = {name: [p for g in o.param_groups for p in g["params"]] for name, o in optimisers.items()}
    losses = {
        name: distributed.averaged(partial(trainable.loss, name), trainable.player(name), trainable.leaves_out)
        for name in optimisers
    }
    schedules = [_schedule(optimiser, steps, config) for optimiser in optimisers.values()]
    average = average_of(trainable, config)

    # Go on from a checkpoint
    state = checkpoint.load(path)
    step, seconds, sums = 0, 0.0, {}  # sums: of the scalars since the last line of the history
    origin, peak = provenance(**machine(device)), 0.0
    if state is not None:
        _refuse_other(state["about"], about, folder)
        trainable.load_state_dict(state["model"])
        for name, optimiser in optimisers.items():
            kept = state["optimisers"][name]
            for group in kept["param_groups"]:
                group["capturable"] = graphed  # whoever trained before may have had another device
            optimiser.load_state_dict(kept)
        if average is not None:
            average.load_state_dict(state["average"])
        step, seconds, sums = state["step"], state["seconds"], state["sums"]
        origin, peak = resumed(state["provenance"], origin), state["provenance"]["peak_memory_gib"]
    _cut_history(history, step)

    rates = [(group, torch.zeros((), device=device)) for o in optimisers.values() for group in o.param_groups]

    def run(batch: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """One step of all players: the means of their scalars."""
        found = {}
        for name in trainable.players:
            with autocast(device):
                loss, scalars = losses[name](batch, labels)
            optimisers[name].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters[name], config.clip, foreach=device.type != "mps")
            optimisers[name].step()
            for key, value in scalars.items():
                found[key] = found.get(key, 0) + value.detach() / trainable.players.count(name)
        trainable.after_step()
        return found

    run = GraphedStep(run) if graphed else run

    def usable() -> Trainable:
        return average.module if average is not None else trainable

    def save() -> None:
        checkpoint.save(
            path,
            {
                "about": about,
                "provenance": origin | {"peak_memory_gib": max(peak, peak_memory(device))},
                "step": step,
                "steps": steps,
                "sums": sums,
                "seconds": seconds + time.monotonic() - started,
                "model": trainable.state_dict(),
                "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
                "average": average.state_dict() if average is not None else None,
                "weights": usable().state_dict(),
            },
        )

    def demands() -> tuple[bool, bool]:
        """Whether time is up, and whether a checkpoint is due."""
        return clock.up, time.monotonic() - saved > CHECKPOINT_SECONDS

    # Steps
    started = saved = time.monotonic()
    order, epoch = None, -1
    with compiled(trainable.networks(), device), Progress(folder, step, steps, per_epoch, config.batch) as progress:
        while step < steps:
            if epoch != step // per_epoch:
                epoch = step // per_epoch
                order = torch.randperm(len(data), generator=torch.Generator().manual_seed(stream(seed, "epoch", epoch)))
                order = order.to(device)
            place = step % per_epoch * config.batch
            chosen = distributed.share(order[place : place + config.batch])
            batch, batch_labels = data[chosen], labels[chosen]
            own = (distributed.rank(),) if distributed.rank() and not trainable.draws_for_all else ()
            torch.manual_seed(stream(seed, "step", step, *own))
            for schedule in schedules:
                schedule.step_update(step)
            if graphed:  # a graph reads its rates from tensors
                for group, rate in rates:
                    group["lr"] = rate.fill_(group["lr"])
            trainable.progress = step / steps
            for key, value in run(batch, batch_labels).items():
                sums[key] = sums.get(key, 0) + value
            step += 1
            if average is not None:
                average.update(trainable, step)
            count = (step - 1) % log_every + 1
            progress.update(step, sums, count, clock.after)

            log_now = step % log_every == 0 or step == steps
            up, due = distributed.from_first(demands) if log_now or distributed.world() == 1 else (False, False)
            save_now = step == steps or up or due
            if step == steps:
                usable().finish(data)
            if log_now or save_now:  # the loop waits for the device here alone, and for a line a minute
                values = {key: distributed.mean(value).item() / count for key, value in sums.items()}
                broken = [key for key, value in values.items() if not math.isfinite(value)]
                if broken:
                    raise HybridError(
                        f"{broken[0]} is no longer finite at step {step} of {folder}: lower the learning rate "
                        f"(lr = {config.lr}) and train again; the checkpoint from before is kept"
                    )
            if log_now and not distributed.rank():
                elapsed = round(seconds + time.monotonic() - started, 2)
                append(history, {"step": step, "epoch": round(step / per_epoch, 3), "seconds": elapsed, **values})
                progress.show(values)
            if log_now:
                sums = {}
            if save_now:
                save()
                saved = time.monotonic()
                if up and step < steps:
                    raise TimeUp(f"{folder}: stopped at step {step} of {steps}; the same command goes on from there")
    return usable().eval()


def finished(trainable: Trainable, folder: Path, about: dict) -> Trainable | None:
    """`trainable` with the weights of a run that came to its end in `folder`, or None."""
    state = checkpoint.load(folder / "checkpoint.pt")
    if state is None:
        return None
    _refuse_other(state["about"], about, folder)
    if state["step"] < state["steps"]:
        return None
    trainable.load_state_dict(state["weights"])
    return trainable.to(memory_format=torch.channels_last).eval()


def stream(*parts: int | str) -> int:
    """A seed of 63 bits that differs for each sequence of parts, such as (seed, "step", 7)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def optimiser_for(module: nn.Module, config: Training, graphed: bool = False) -> torch.optim.Optimizer:
    """The optimiser of a module's parameters; `graphed`: its step is going to be captured in a CUDA graph."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    weights = {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay}
    others = {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}
    if config.optimiser == "adamw":
        return torch.optim.AdamW([weights, others], lr=config.lr, betas=config.betas, fused=True, capturable=graphed)
    from hybrid.muon import Muon  # likewise

    # Muon's steps are as large as AdamW's at the same rate, and NAdamW moves what is no matrix.
    groups = [weights, others | {"use_fallback": True}]
    return Muon(groups, lr=config.lr, betas=config.betas, nesterov=True, capturable=graphed)


def _schedule(optimiser: torch.optim.Optimizer, steps: int, config: Training):
    from timm.scheduler import CosineLRScheduler

    return CosineLRScheduler(
        optimiser, t_initial=steps, warmup_t=round(config.warmup * steps), warmup_prefix=False, t_in_epochs=False
    )


def append(log: Path, line: dict) -> None:
    """One more line of a .jsonl. Raises HybridError where it cannot be written."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise HybridError(f"{log} could not be written ({error}): mend that and run again; checkpoints are intact") from error


def _cut_history(history: Path, step: int) -> None:
    """Drop what a killed run wrote after the checkpoint: it comes again."""
    if history.exists():
        lines = [line for line in history.read_text().splitlines() if _step(line) <= step]
        checkpoint.write_atomically(history, lambda path: path.write_text("".join(line + "\n" for line in lines)))


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # a line that the kill cut short
        return float("inf")


def read_history(path: Path) -> list[dict]:
    """The lines of a history.jsonl, oldest first; none where there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _refuse_other(found: dict, wanted: dict, folder: Path) -> None:
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
