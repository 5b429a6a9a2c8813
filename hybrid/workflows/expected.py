"""Compare your numbers with committed outcomes of several seeds.

results/<profile>/<data set>/expected.json is a list of outcomes, one per run and method, with `method`, `seed`, `device`,
`precision`, `commit`, `recipe` (a digest of the settings for training and judging) and `metrics`. `hybrid expect` adds to it.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hybrid import paths
from hybrid.errors import HybridError
from hybrid.experiments import table
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS
from hybrid.machine.files import demand, write_json

COVERAGE = 0.99  # probability that a number of a further run, on a similar machine, lies in its expected range
FEWEST = 3  # smallest number of outcomes for a range


@dataclass(frozen=True)
class Comparison:
    """One of your numbers and the committed ones."""

    method: str
    metric: str
    yours: float
    committed: float  # of the newest run with the same seed if there is one, else of the first run
    low: float | None  # lower end of the expected range; None: too few outcomes
    high: float | None  # upper end

    @property
    def outside(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= self.yours <= self.high

    @property
    def range(self) -> str:
        return "–" if self.low is None or self.high is None else f"{table.number(self.low)} to {table.number(self.high)}"

    def __str__(self) -> str:
        yours = table.number(self.yours)
        return f"{METHODS[self.method].title}, {table.heading(self.metric)}: {yours}, expected {self.range}"


def file(experiment: Experiment) -> Path:
    """Return the file of the outcomes to compare with. It is in the repository, wherever HYBRID_HOME is."""
    return paths.REPOSITORY / "results" / experiment.profile.name / experiment.slug / "expected.json"


def add(experiment: Experiment) -> Path:
    """Add the experiment's outcomes to the file and return its path. They replace those of the same seed, device and precision.

    Raises HybridError if no method is judged yet, or outside a repository.
    """
    path, new = file(experiment), []
    if not (paths.REPOSITORY / "pyproject.toml").exists():
        raise HybridError(f"{paths.REPOSITORY} is an installed package: hybrid expect works in a clone, after make install")
    for name in METHODS:
        if (kept := experiment.kept_outcome(name)) is not None:
            origin = kept["provenance"]
            about = {"seed": origin["seed"], "device": origin["device"], "precision": origin.get("precision")}
            recipe = {"commit": origin["commit"], "recipe": _recipe(experiment, name)}
            new.append({"method": name, **about, **recipe, "metrics": kept["metrics"]})
    if not new:
        raise HybridError(f"{experiment.folder} has no outcome of this profile: run hybrid reproduce first")
    same = [_run(outcome) for outcome in new]
    write_json(path, [outcome for outcome in _read(path) if _run(outcome) not in same] + new)
    return path


def compare(experiment: Experiment, methods: tuple[str, ...] = tuple(METHODS)) -> list[Comparison]:
    """Compare the experiment's numbers of Table 1 and of its ablations with the committed outcomes of the current profile."""
    known, compared = _read(file(experiment)), []
    for name in methods:
        kept, recipe = experiment.kept_outcome(name), _recipe(experiment, name)
        runs = [run for run in known if (run["method"], run["recipe"]) == (name, recipe)]
        for metric, yours in kept["metrics"].items() if kept is not None else ():
            having = [run for run in runs if metric in run["metrics"]]
            if having and table.is_shown(metric):
                same = [run for run in having if run["seed"] == experiment.seed]
                committed = (same[-1] if same else having[0])["metrics"][metric]
                low, high = expected_range([run["metrics"][metric] for run in having], metric)
                compared.append(Comparison(name, metric, yours, committed, low, high))
    return compared


def expected_range(values: list[float], metric: str) -> tuple[float | None, float | None]:
    """Return the range of a further value with probability `COVERAGE`, if all values have the same normal distribution.

    It is m ± t s √(1 + 1/n), clipped to the metric's possible values. With fewer values than `FEWEST`, both ends are None.
    """
    from scipy.special import stdtrit  # Student's quantiles

    if len(values) < FEWEST:
        return None, None
    n, mean = len(values), statistics.fmean(values)
    reach = stdtrit(n - 1, (1 + COVERAGE) / 2) * statistics.stdev(values) * math.sqrt(1 + 1 / n)
    least = -math.inf if metric.startswith("k") else 0.0  # a kernel distance is unbiased and can be negative
    most = {"acc": 100.0, "precision": 1.0, "recall": 1.0}.get(metric, math.inf)
    return max(mean - reach, least), min(mean + reach, most)


def formatted(compared: list[Comparison]) -> pd.DataFrame:
    """Return a row per number: yours, committed, expected range, and "outside" if it is."""
    rows = [
        {
            "method": METHODS[one.method].title,
            "number": table.heading(one.metric),
            "yours": table.number(one.yours),
            "committed": table.number(one.committed),
            "expected": one.range,
            "": "outside" if one.outside else "",
        }
        for one in compared
    ]
    return pd.DataFrame(rows).set_index("method")


def verdict(compared: list[Comparison]) -> str:
    """Say in a sentence which numbers are outside their ranges."""
    ranged, outside = [one for one in compared if one.low is not None], [one for one in compared if one.outside]
    if not ranged:
        return f"There are too few committed runs for a range: it needs {FEWEST}."
    if not outside:
        return f"All {len(ranged)} numbers lie in the expected range."
    return f"{len(outside)} of {len(ranged)} numbers lie outside the expected range: {'; '.join(map(str, outside))}."


def _recipe(experiment: Experiment, name: str) -> str:
    """Return a digest of the settings that are the same for all seeds: data set, method, judging."""
    own = ("seed", "training", "sha256")  # the name of the data set, another value, already identifies its content
    key = {part: value for part, value in experiment.key(name).values.items() if part not in own}
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _read(path: Path) -> list[dict]:
    """Return the committed outcomes; none if there is no file. Raises HybridError if `add` did not write the file."""
    parts = {"method": str, "recipe": str, "seed": int, "device": str, "metrics": dict}
    try:
        outcomes = json.loads(path.read_text(encoding="utf-8"))
        for outcome in outcomes:
            demand(outcome, parts)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HybridError(f"{path} cannot be used ({error}): restore it, for example with git checkout") from error
    return outcomes


def _run(outcome: dict) -> tuple:
    return tuple(outcome.get(part) for part in ("method", "recipe", "seed", "device", "precision"))
