"""Commands that train and judge the methods of a profile."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Literal

from hybrid.commands.common import checked_methods, print_json, print_progress, set_strict, with_numbers

if TYPE_CHECKING:
    from hybrid.experiments.experiment import Experiment


def reproduce(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] | None = None,
    time_limit: float | None = None,
    notebooks: bool = True,
    jobs: int | None = None,
    dry_run: bool = False,
    strict: bool = False,
) -> None:
    """Train and judge the methods of a profile, then make the figures, the table, the notebooks and an HTML report.

    Finished work is not repeated, and an interrupted run continues.

    For example:
        hybrid reproduce
        hybrid reproduce --profile laptop --dataset cifar10 --methods hybrid mocov2
        hybrid reproduce --dataset my/folder --dry-run

    Args:
        profile: demo, laptop, gpu, paper or smoke; change a field with a comma: laptop,hybrid.representation.training.epochs=6
        dataset: digits, cifar10, cifar100, an .npz or a folder; if omitted: the profile's data set.
        seed: seed for weights, batches and samples.
        methods: any of hybrid, hybridplus, mocov2, nvae, ddim, biggan, contrast_on_z, always with the hybrid; if omitted: all.
        time_limit: stop at a checkpoint, or between two parts of judging, after this many seconds, with exit status 75.
        notebooks: also execute the notebooks.
        jobs: number of methods to train at the same time; if omitted: 2 on a CPU with two or more cores, else 1.
        dry_run: only print what is finished, what remains and how long that will take; needs the data set, and may download it.
        strict: refuse saved results of other code or another precision, instead of printing a line about them.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.machine.precision import in_words
    from hybrid.training.loop import Clock
    from hybrid.workflows import expected, plan, workers
    from hybrid.workflows.reproduce import reproduce

    set_strict(strict)
    workers.check(jobs)
    wanted = checked_methods(methods)
    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    print_progress(in_words(experiment.device))
    work = plan.make(experiment, wanted, notebooks)
    print(plan.describe(experiment, work), file=sys.stdout if dry_run else sys.stderr, flush=True)
    if not dry_run:
        report = reproduce(experiment, work, jobs)
        if compared := expected.compare(experiment, work.methods):
            print(f"{expected.formatted(compared)}\n{expected.verdict(compared)}")
        print(f"report: {report}")


def train(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] | None = None,
    time_limit: float | None = None,
    log: Literal["pictures", "tensorboard"] | None = None,
    strict: bool = False,
) -> None:
    """Train methods, or continue interrupted trainings.

    For example:
        hybrid train --dataset my/folder --methods hybrid
        hybrid train --profile laptop --dataset cifar10 --seed 1 --time-limit 3600
        hybrid train --log tensorboard

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed for weights and batches.
        methods: only these, by the names in `hybrid reproduce --help`; if omitted: all.
        time_limit: stop at a checkpoint after this many seconds, with exit status 75.
        log: pictures: after each epoch write reconstructions or samples, where the stage has them (MoCo-v2 and Hybrid+'s stages
            have none), as .png to watched/ in the stage's folder;
            tensorboard: also log them, the losses and the nearest-neighbour accuracy on test images, for
            tensorboard --logdir runs
        strict: see `hybrid reproduce --help`.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.machine.precision import in_words
    from hybrid.training.loop import Clock
    from hybrid.workflows.watching import Watch

    set_strict(strict)
    wanted = checked_methods(methods)
    experiment = Experiment(profile, dataset, seed, Clock(time_limit), watch=Watch(log) if log else None)
    print_progress(in_words(experiment.device))
    for name in with_numbers(wanted, experiment) if methods is None else wanted:
        experiment.model(name)
        print(f"trained: {experiment.run(name).folder}")


def evaluate(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] | None = None,
    json: bool = False,
    strict: bool = False,
) -> None:
    """Judge methods on the test set and print the numbers with their units. Methods that are not trained yet are trained first.

    Numbers that are already in results/, such as those that come with the repository, are only read. A line on standard error
    names their file and says how to measure again: without weights, train first; with weights, move the file away.

    For example:
        hybrid evaluate --methods hybrid
        hybrid evaluate --profile laptop --dataset cifar10 --json

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed for weights, batches and samples.
        methods: only these, by the names in `hybrid reproduce --help`; if omitted: all.
        json: print the numbers as JSON, by method, without units.
        strict: see `hybrid reproduce --help`.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.experiments.methods import judged, method
    from hybrid.experiments.table import unconverged, unit

    set_strict(strict)
    wanted = checked_methods(methods)
    experiment, found = Experiment(profile, dataset, seed), {}
    if methods is None:
        wanted = with_numbers(wanted, experiment)
    elif not set(wanted) <= set(judged(experiment.labelled)):
        experiment.images.demand_classes()
    for name in wanted:
        if (kept := experiment.kept_outcome(name)) is not None:
            print_progress(_read_from(experiment, name, kept["provenance"].get("commit")))
        elif not experiment.is_trained(name):
            print_progress(f"{name} is not trained here: it is trained first, and {experiment.runs} keeps the progress")
        outcome = experiment.outcome(name) if kept is None else kept
        found[name] = outcome["metrics"]
        if not json:
            print(f"{method(name).title}, {experiment.profile.name}, {experiment.slug}, seed {seed}")
            for metric, value in found[name].items():
                print(f"  {metric:28} {value:10.3f}  {unit(metric)}".rstrip())
            if words := unconverged(outcome):
                print(f"  {words}")
    if json:
        print_json(found)


def expect(profile: str = "demo", dataset: str | None = None, seed: int = 0) -> None:
    """Add a run's numbers to the repository's results/, as a reference for later runs.

    For example:
        hybrid expect --profile laptop --dataset cifar10 --seed 1

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed of the run.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.workflows import expected

    print(f"expected: {expected.add(Experiment(profile, dataset, seed))}")


def _read_from(experiment: Experiment, name: str, commit: str | None) -> str:
    """Say where a saved outcome comes from, and how to measure it again."""
    path = experiment.folder / f"{name}.json"
    options = shlex.join(
        ["--profile", experiment.profile.name, "--dataset", experiment.dataset, "--seed", str(experiment.seed)]
    )
    again = "move that file away" if experiment.is_trained(name) else f"train first (hybrid train {options} --methods {name})"
    measured = f"measured at commit {commit[:12]}" if commit else "measured by code whose commit was not recorded"
    return f"read from {path}, {measured}; to measure again: {again}"
