"""The paths of all folders.

They are in one home folder: `HYBRID_HOME` if it is set, the repository for an editable install, else the working directory.
Large files go to `runs/`, small results to `results/`, data sets to `data/`.
"""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def home() -> Path:
    if given := os.environ.get("HYBRID_HOME"):
        return Path(given).expanduser().resolve()
    return REPOSITORY if (REPOSITORY / "pyproject.toml").exists() else Path.cwd()


def data() -> Path:
    """Return the folder of data sets: `HYBRID_DATA`, else `data/`."""
    return Path(given).expanduser().resolve() if (given := os.environ.get("HYBRID_DATA")) else home() / "data"


def runs(profile: str, dataset: str) -> Path:
    """Return the folder of a profile's checkpoints and executed notebooks for a data set."""
    return home() / "runs" / profile / dataset


def results(profile: str, dataset: str) -> Path:
    """Return the folder of a profile's tables, figures and their data for a data set."""
    return home() / "results" / profile / dataset


def bench() -> Path:
    """Return the folder of speed measurements and of logs of changes."""
    return home() / "results" / "bench"


def bounds() -> Path:
    """Return the folder of estimates for distributions with known mutual information."""
    return home() / "results" / "bounds"


def tradeoff() -> Path:
    """Return the folder of the sweeps of alpha and of the size of y."""
    return home() / "results" / "tradeoff"


def cache() -> Path:
    """Return the folder of data sets' statistics, which all runs share."""
    return home() / "runs" / "cache"


def notebooks() -> Path:
    return REPOSITORY / "notebooks"
