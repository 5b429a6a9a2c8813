"""Where things lie: the one place that knows folders.

All are under a home: `HYBRID_HOME` where it is set, the repository for an editable install, else the working directory.
Heavy files go to `runs/`, small outcomes to `results/`, data sets to `data/`.
"""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def home() -> Path:
    if "HYBRID_HOME" in os.environ:
        return Path(os.environ["HYBRID_HOME"]).expanduser().resolve()
    return REPOSITORY if (REPOSITORY / "pyproject.toml").exists() else Path.cwd()


def data() -> Path:
    """Data sets, downloaded or brought: `HYBRID_DATA`, else `data/`."""
    return Path(os.environ["HYBRID_DATA"]).expanduser().resolve() if "HYBRID_DATA" in os.environ else home() / "data"


def runs(profile: str, dataset: str) -> Path:
    """Checkpoints and executed notebooks of a profile on a data set."""
    return home() / "runs" / profile / dataset


def results(profile: str, dataset: str) -> Path:
    """Tables, figures and their data of a profile on a data set."""
    return home() / "results" / profile / dataset


def bench() -> Path:
    """What is known of speed, and of what changes are worth."""
    return home() / "results" / "bench"


def bounds() -> Path:
    """Estimates where the mutual information is known."""
    return home() / "results" / "bounds"


def cache() -> Path:
    """Statistics of data sets that every run shares."""
    return home() / "runs" / "cache"


def notebooks() -> Path:
    return REPOSITORY / "notebooks"
