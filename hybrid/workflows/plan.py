"""The plan of `hybrid reproduce`: what is finished, what remains, and how long that will take on this machine.

Each training is timed with a few steps, on few images if a step is long. The estimate for judging is the time of the committed
judgement times the ratio of step times here and there: the smallest ratio of the method's trainings or, if none is known, of
all.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from hybrid import paths
from hybrid.data.datasets import ImageSet
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS, judged, preview
from hybrid.experiments.store import Store
from hybrid.machine import distributed
from hybrid.machine.lines import in_words
from hybrid.machine.precision import autocast
from hybrid.machine.provenance import device_in_words
from hybrid.models.base import Trainable
from hybrid.profiles.schema import Training
from hybrid.training import checkpoint
from hybrid.training.history import active_seconds, read_history
from hybrid.training.loop import Clock, finished
from hybrid.training.optimisers import optimiser_for
from hybrid.workflows import notebooks

TIMED_SECONDS = 10.0  # upper limit for all timed steps together
TIMED_IMAGES = (4, 16, 32, 32)  # images in successive timed steps on a CPU, as far as time allows
SHORT = 5e9  # images times parameters: less work than this takes under a minute on any machine and is not timed
DRAWING_SECONDS = 20.0
NOTEBOOK_SECONDS = 8.0  # for each of several notebooks; most of it is imports
KINDS = ("training", "judging")  # of work on a method
DRAWING, NOTEBOOKS = ("figures, table and report", "drawing"), ("notebooks", "execution")


@dataclass
class Stage:
    """A training that is not finished."""

    name: str
    trainable: Trainable
    config: Training
    data: Callable[[], Tensor]  # the data of a few images
    step: int  # steps that are done
    steps: int  # steps of the whole training

    @property
    def work(self) -> float:
        """The remaining work, in images times parameters."""
        return (self.steps - self.step) * self.config.batch * sum(p.numel() for p in self.trainable.parameters())


@dataclass
class Work:
    """The parts of a `reproduce`, with the estimated seconds of each."""

    methods: tuple[str, ...]
    notebooks: bool  # whether to execute them
    # By name and kind, such as ("nvae", "training"), in order. 0: already done; None: unknown.
    seconds: dict[tuple[str, str], float | None]
    started: float = field(default_factory=time.monotonic)

    @property
    def to_make(self) -> tuple[str, ...]:
        """The methods that are not trained or not judged yet."""
        return tuple(name for name in self.methods if any(self.seconds[name, kind] != 0 for kind in KINDS))

    @property
    def costs(self) -> dict[str, float]:
        """The estimated seconds of each method; 0 if unknown."""
        return {name: sum(self.seconds[name, kind] or 0.0 for kind in KINDS) for name in self.methods}

    def announce(self, name: str, done: list[str], running: list[str]) -> None:
        """Print that a worker begins this method. `done`: finished methods; `running`: those of all workers, with this one."""
        costs, elapsed = self.costs, time.monotonic() - self.started
        behind = sum(costs[each] for each in done) + sum(costs[each] for each in running if each != name) / 2
        pace = elapsed / behind if done and behind > 20 else 1.0
        left = pace * (sum(costs.values()) - behind) + sum(self.seconds.get(part) or 0.0 for part in (DRAWING, NOTEBOOKS))
        number, most = len(done) + len(running), len(self.to_make) + (DRAWING in self.seconds) + (NOTEBOOKS in self.seconds)
        print(f"[{number}/{most}] {_title(name)}{self._told(left)}", file=sys.stderr, flush=True)

    def _told(self, left: float, parts: Iterable[tuple[str, str]] | None = None) -> str:
        """Word the seconds that are left for these parts (all by default). Say nothing if a training was not timed."""
        unknown = {part[1] for part in (parts or self.seconds) if self.seconds[part] is None}
        if "training" in unknown or not left:
            return ""
        return f"; {'at least' if unknown else 'about'} {in_words(left)} left in all"

    def left(self, part: tuple[str, str]) -> tuple[float, float]:
        """Return the seconds of this part and of all later parts: the estimates, scaled by how the earlier ones turned out."""
        planned, at = [seconds or 0.0 for seconds in self.seconds.values()], list(self.seconds).index(part)
        before = sum(planned[:at])
        pace = (time.monotonic() - self.started) / before if before > 20 else 1.0
        return pace * planned[at], pace * sum(planned[at + 1 :])

    def begin(self, name: str, kind: str, clock: Clock) -> None:
        """Print that this part begins, unless it is done, and tell the clock how long the later parts take."""
        part, to_make = (name, kind), [part for part, seconds in self.seconds.items() if seconds != 0]
        if part not in to_make:
            return
        now, clock.after = self.left(part)
        if distributed.rank() == 0:
            left = self._told(now + clock.after, list(self.seconds)[list(self.seconds).index(part) :])
            names = list(dict.fromkeys(name for name, _ in to_make))
            print(f"[{names.index(name) + 1}/{len(names)}] {_title(name)}, {kind}{left}", file=sys.stderr, flush=True)


def make(experiment: Experiment, methods: tuple[str, ...] = tuple(METHODS), execute: bool = True) -> Work:
    """Return the work for the hybrid and the other `methods`, and the notebooks if `execute`. Long trainings are timed.

    Without labels, a method that has only an accuracy is left out.
    """
    images, processes = experiment.images, distributed.world()
    methods = tuple(name for name in judged(images.labelled) if name == "hybrid" or name in methods)
    parts = distributed.on_rank_zero(lambda: _seconds(experiment, methods, execute, images, processes))
    return Work(methods, execute, parts)


def describe(experiment: Experiment, work: Work) -> str:
    """Format the plan as text: a line per method, and the total time."""
    lines = [f"{experiment.profile.name}, {experiment.slug}, seed {experiment.seed}, {device_in_words(experiment.device)}"]
    kinds = {}
    for (name, kind), seconds in work.seconds.items():
        kinds.setdefault(name, []).append(f"{kind} {_amount(seconds)}")
    lines += [f"  {_title(name):26} {', '.join(parts)}" for name, parts in kinds.items()]
    return "\n".join([*lines, _in_all(work.seconds)])


def _seconds(
    experiment: Experiment, methods: tuple[str, ...], execute: bool, images: ImageSet, processes: int
) -> dict[tuple[str, str], float | None]:
    """Estimate the `seconds` of a `Work`."""
    stages = {name: unfinished(experiment, name, images) for name in methods}
    every = {folder: stage for found in stages.values() for folder, stage in found.items()}
    paces, until = {}, time.monotonic() + TIMED_SECONDS  # paces: seconds per step
    if sum(stage.work for stage in every.values()) > SHORT:
        for folder, stage in every.items():
            share = (until - time.monotonic()) / (len(every) - len(paces))
            paces[folder] = seconds_per_step(stage, images.train_labels, share) / processes
    parts, known = {}, set()
    factors: dict[str, float] = {}  # times that a step of a method takes as long as on the committed device, at least
    committed = paths.REPOSITORY / "results" / experiment.profile.name.split(",")[0] / experiment.slug / "seed0"
    for name, found in stages.items():
        new = {folder: stage for folder, stage in found.items() if folder not in known}  # methods may share a stage
        known |= new.keys()
        timed = all(folder in paces for folder in new)
        parts[name, "training"] = sum((s.steps - s.step) * paces[f] for f, s in new.items()) if timed else None
        for folder, stage in new.items():
            if timed and (lines := read_history(committed / f"{name}-{stage.name}.jsonl")):
                factor = paces[folder] * lines[-1]["step"] / active_seconds(lines)[-1]
                factors[name] = min(factors.get(name, factor), factor)
    for name, found in stages.items():
        kept = Store(committed).read(name)
        if not found and experiment.kept_outcome(name) is not None:
            parts[name, "judging"] = 0
        elif kept is None or (known and not factors):
            parts[name, "judging"] = None
        else:
            factor = factors.get(name) or min(factors.values(), default=1.0)
            parts[name, "judging"] = kept["provenance"].get("evaluation_seconds", 0.0) * factor
    parts = {(name, kind): parts[name, kind] for name in methods for kind in KINDS}  # in their order
    changed = any(seconds != 0 for seconds in parts.values())
    parts[DRAWING] = DRAWING_SECONDS
    if execute:
        executed = (notebooks.executed_copies if changed else notebooks.stale)(experiment, methods)
        parts[NOTEBOOKS] = NOTEBOOK_SECONDS * len(executed)
    return parts


def unfinished(experiment: Experiment, name: str, images: ImageSet) -> dict[Path, Stage]:
    """Return the unfinished stages of a method by their folders.

    Raises HybridError for the checkpoint of another training, which would stop the run when it comes to it.
    """
    most = 2048 if experiment.device.type == "cuda" else max(TIMED_IMAGES)
    most = max(most, experiment.profile.plus.y.mixture or 0)  # which needs an image for each of its Gaussians
    few = replace(images, train_images=images.train_images[:most], train_labels=images.train_labels[:most])
    found = {}
    for folder, planned in preview(replace(experiment.run(name), images=few), name).items():
        config, done = planned.training, 0
        if (state := checkpoint.load(folder / "checkpoint.pt")) is not None:
            rest = {part: value for part, value in state["about"].items() if part == "encoder"}
            about = planned.about | rest | {"sha256": images.sha256}
            finished(copy.deepcopy(planned.trainable), folder, about, planned.kinds)
            done = state["step"]
        steps = config.steps(len(images.train_images))
        if done < steps:
            found[folder] = Stage(folder.name, planned.trainable, config, planned.data, done, steps)
    return found


def seconds_per_step(stage: Stage, labels: Tensor, limit: float) -> float:
    """Measure the mean seconds of a step on one device, with a few steps that should take at most `limit` seconds in all."""
    module, config, data = stage.trainable.train(), stage.config, stage.data()
    module.to(memory_format=torch.channels_last)
    module.prepare(data)
    optimisers = {name: optimiser_for(module.player(name), config) for name in dict.fromkeys(module.players)}
    least = len(module.players)  # BigGAN's discriminator steps divide the images among them

    def gradients(count: int) -> None:
        for name in module.players:
            with autocast(data.device):
                loss, _ = module.loss(name, data[:count], labels[:count])
            optimisers[name].zero_grad()
            loss.backward()

    def steps() -> None:
        for name in module.players:
            optimisers[name].step()
        module.after_step()

    def measured(share: float) -> float:
        # Steps on a GPU are short, and take the same time for few images as for many.
        counts, started = (config.batch,) * 3 if data.is_cuda else TIMED_IMAGES, time.monotonic()
        seconds, stepping = {}, []  # of the gradients, the least by number of images; of the optimisers
        for count in (min(max(count, least), config.batch, len(data)) for count in counts):
            spent = _timed(lambda count=count: gradients(count), data.device)
            seconds[count] = min(spent, seconds.get(count, spent))
            stepping.append(_timed(steps, data.device))
            if len(stepping) > 1 and time.monotonic() - started + 2 * (spent + stepping[-1]) > share * limit:
                break
        few, many = min(seconds), max(seconds)
        # A part of a step's time does not depend on the number of images.
        each = max(seconds[many] - seconds[few], 0.0) / (many - few) if many > few else seconds[many] / many
        return seconds[many] + (config.batch - many) * each + min(stepping)

    # The first call imports modules, among others, which can take longer than `limit`.
    gradients(min(max(TIMED_IMAGES[0], least), config.batch, len(data)))
    steps()
    return module.mean_over_phases(measured)


def _timed(function: Callable[[], None], device: torch.device) -> float:
    started = time.monotonic()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - started


def _in_all(parts: dict[tuple[str, str], float | None]) -> str:
    if not any(seconds != 0 for (_, kind), seconds in parts.items() if kind in KINDS):
        return "everything is trained and judged"
    known = in_words(sum(seconds or 0.0 for seconds in parts.values()))
    short = "; parts that are short or have no committed outcome were not timed"
    return f"at least {known} in all{short}" if None in parts.values() else f"about {known} in all"


def _amount(seconds: float | None) -> str:
    return "to do" if seconds is None else in_words(seconds) if seconds else "done"


def _title(name: str) -> str:
    return METHODS[name].title if name in METHODS else name
