"""What several commands share: checks of their arguments before any work, and ways to print."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from hybrid.errors import HybridError

if TYPE_CHECKING:
    from pathlib import Path

    from hybrid.experiments.experiment import Experiment
    from hybrid.model import HybridModel


def checked_methods(methods: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the methods, by default all. Raises HybridError for a wrong name, before anything is trained."""
    from hybrid.experiments.methods import METHODS, method

    if methods is not None and not methods:
        raise HybridError(f"methods is empty: choose among {', '.join(METHODS)}, or omit the option for all")
    return tuple(METHODS) if methods is None else tuple(method(name).name for name in methods)


def with_numbers(methods: tuple[str, ...], experiment: Experiment) -> tuple[str, ...]:
    """Return the methods that have a number on the experiment's data. A line names the others: without classes, MoCo-v2."""
    from hybrid.experiments.methods import METHODS, judged

    found = judged(experiment.labelled)
    if left := [METHODS[name].title for name in methods if name not in found]:
        print_progress(f"{experiment.dataset} has no classes: {', '.join(left)} is left out, because it could only classify")
    return tuple(name for name in methods if name in found)


def set_strict(strict: bool) -> None:
    from hybrid.machine import fingerprint

    fingerprint.strict.set(strict)


def check_sampling(seed: int, eta: float, order: int) -> None:
    from hybrid.profiles.checked import whole_seed

    whole_seed(seed)
    if not 0 <= eta <= 1:
        raise HybridError(f"eta = {eta}: give a value from 0 (DDIM) to 1 (DDPM)")
    if order not in (1, 2) or (order == 2 and eta):
        raise HybridError(f"order = {order} with eta = {eta:g}: give 1, or 2 with eta 0")


def origin_of(run: Path, model: HybridModel, **details) -> dict:
    """Return the origin of a file that a command makes with this model, for `hybrid explain`: a `provenance.summary`.

    It has no date, so that the same command writes the same bytes.
    """
    from hybrid.machine.provenance import summary

    origin = provenance_of(run, model, **details) | {"date": None}
    return summary(origin, {}, str(run)) | {"again": origin["command"]}


def provenance_of(run: Path, model: HybridModel, **details) -> dict:
    """Return the provenance of what a command computes with this model: with the digest of its weights."""
    from hybrid.machine.provenance import machine, provenance
    from hybrid.training.checkpoint import digest

    weights = f"{run}, digest {digest(model.state_dict())}"
    return provenance(**machine(model.device), run=str(run), weights=weights, **details)


def print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=1, default=float))
