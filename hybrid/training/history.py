"""A training's history: a .jsonl with a line each time that its scalars are logged.

The checkpoint holds the same text, so a history that was cut, lost or damaged is written anew from there.
"""

from __future__ import annotations

import json
from pathlib import Path

from hybrid.errors import HybridError
from hybrid.machine import distributed, files


def append(log: Path, line: dict) -> None:
    """One more line of a .jsonl. Raises HybridError where it cannot be written."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise HybridError(f"{log} could not be written ({error}): mend that and run again; checkpoints are intact") from error


def restore(history: Path, text: str) -> None:
    """Have the file hold this text: a kill wrote more after the checkpoint, or something became of it."""

    def differs() -> bool:
        return files.read_kept(history, lambda file: file.read()) != text.encode()

    if distributed.rank() == 0 and (text or history.exists()) and differs():
        files.write_text(history, text)


def lines_until(history: Path, step: int) -> str:
    """The text of a history up to a step, of a checkpoint that does not hold it, as earlier versions' do not."""
    content = files.read_kept(history, lambda file: file.read().decode(errors="replace")) or ""
    return "".join(line + "\n" for line in content.splitlines() if _step(line) <= step)


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):  # a line that a kill cut short
        return float("inf")


def parse(content: bytes) -> list[dict]:
    """The lines of a .jsonl. Raises ValueError where one is not of named values."""
    lines = [json.loads(line) for line in content.decode("utf-8").splitlines()]
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError("expected a line of named values each")
    return lines


def read_history(path: Path) -> list[dict]:
    """The lines of a history.jsonl, oldest first; none where there is no such file, or it is damaged."""
    return files.read_kept(path, lambda file: parse(file.read())) or []
