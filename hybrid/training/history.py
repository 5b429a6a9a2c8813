"""A training's history: a .jsonl with a line each time that its scalars are logged."""

from __future__ import annotations

import json
from pathlib import Path

from hybrid.errors import HybridError
from hybrid.machine import files


def append(log: Path, line: dict) -> None:
    """One more line of a .jsonl. Raises HybridError where it cannot be written."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise HybridError(f"{log} could not be written ({error}): mend that and run again; checkpoints are intact") from error


def cut_history(history: Path, step: int) -> None:
    """Drop what a killed run wrote after the checkpoint: it comes again."""
    if history.exists():
        lines = [line for line in history.read_text().splitlines() if _step(line) <= step]
        files.write_atomically(history, lambda path: path.write_text("".join(line + "\n" for line in lines)))


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # a line that the kill cut short
        return float("inf")


def read_history(path: Path) -> list[dict]:
    """The lines of a history.jsonl, oldest first; none where there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
