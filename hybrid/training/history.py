"""The history of a training: a .jsonl with a line each time the scalars are logged.

The checkpoint contains the same text, so a truncated, lost or damaged history is written again from there.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hybrid.errors import HybridError
from hybrid.machine import distributed, files

PAUSE = 5.0  # an interval between two lines that takes this many times its neighbours' median has a pause
NEIGHBOURS = 4  # on each side


def append(log: Path, line: dict) -> None:
    """Append a line to a .jsonl. Raises HybridError if it cannot be written."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise HybridError(
            f"{log} could not be written ({error}): free space or change its permissions, and run again; checkpoints are intact"
        ) from error


def restore(history: Path, text: str) -> None:
    """Write this text to the file if it differs: a killed run may have added lines, or the file may be damaged."""

    def differs() -> bool:
        return files.read_kept(history, lambda file: file.read()) != text.encode()

    if distributed.rank() == 0 and (text or history.exists()) and differs():
        files.write_text(history, text)


def parse(content: bytes) -> list[dict]:
    """Return the lines of a .jsonl. Raises ValueError if one does not consist of named values."""
    lines = [json.loads(line) for line in content.decode("utf-8").splitlines()]
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError("expected a line of named values each")
    return lines


def read_history(path: Path) -> list[dict]:
    """Return the lines of a history.jsonl, oldest first; an empty list if the file is missing or damaged."""
    return files.read_kept(path, lambda file: parse(file.read())) or []


def closing(history: list[dict]) -> dict[str, float]:
    """Return the scalars' means over the last lines that together have at least a quarter of an epoch.

    A line has the steps since the line before; the last one can have few.
    """
    last = history[-1]
    steps = np.diff([line["step"] for line in history], prepend=0)
    quarter = int(last["step"] / last["epoch"] / 4)
    taken = next((n for n in range(1, len(history)) if steps[-n:].sum() >= quarter), len(history))
    keys = [key for key in last if key not in ("step", "epoch", "seconds")]
    return {key: float(np.average([line[key] for line in history[-taken:]], weights=steps[-taken:])) for key in keys}


def active_seconds(history: list[dict]) -> np.ndarray:
    """Return the seconds of training until each line, without pauses, in which the process was stopped.

    An interval with a pause counts at its neighbours' median pace. The first one, which may compile code, counts in full.
    """
    steps = np.diff([line["step"] for line in history], prepend=0)
    spent = np.diff([line["seconds"] for line in history], prepend=0.0)
    pace = spent / np.maximum(steps, 1)
    usual = np.array([np.median(pace[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1]) for i in range(len(pace))])
    paused = pace > PAUSE * usual
    paused[:1] = False
    return np.cumsum(np.where(paused, usual * steps, spent)).round(2)
