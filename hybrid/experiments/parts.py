"""Judging in parts: each finished part is kept in the method's run folder, so a kill loses one part at most."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hybrid.errors import HybridError, TimeUp, tell
from hybrid.experiments.methods import Method
from hybrid.machine import distributed, files
from hybrid.training.loop import Clock

NAME = "judged.json"  # in the folder of a method's run
# The metrics of `evaluate` that each part measures; the last part measures the method's own.
PARTS = {"accuracy": ("acc",), "pictures": ("mse", "fid"), "own": ()}


def judge_in_parts(judge_part: Callable[..., dict], judged: Method, folder: Path, key: dict, clock: Clock) -> dict:
    """Judge a method in parts and return its outcome, like `evaluate.evaluate`, but with the seconds of all parts.

    `judge_part` is `evaluate` without its arguments `having` and `own_metrics`. The method's run folder keeps the parts
    until `forget_parts`; parts with another `key` are judged again. Raises TimeUp if the time is up before a part begins.
    """
    path = folder / NAME
    parts = distributed.on_rank_zero(lambda: _kept(path, key))  # all processes skip the same ones
    for name, metrics in PARTS.items():
        having = tuple(metric for metric in judged.metrics if metric in metrics)
        own = judged.own_metrics if name == "own" else None
        if name in parts or not (having or own):
            continue
        if distributed.on_rank_zero(lambda: clock.up):
            raise TimeUp(f"{judged.name} is trained but not judged yet; the same command continues from there")
        parts[name] = judge_part(having=having, own_metrics=own)
        try:
            files.write_json(path, files.sealed({"key": key, "parts": parts}))
        except HybridError as error:
            tell(f"finished parts of judging are not kept: {error}")
    return _joined(list(parts.values()))


def forget_parts(folder: Path) -> None:
    """Remove the parts of an outcome that is saved. Another process may have left them."""

    def remove() -> None:
        with suppress(OSError):
            (folder / NAME).unlink(missing_ok=True)

    distributed.on_rank_zero(remove)


def _kept(path: Path, key: dict) -> dict[str, dict]:
    kept = files.read_json(path, _are_parts) or {}
    return kept["parts"] if kept.get("key") == key else {}


def _joined(parts: list[dict]) -> dict:
    metrics = {name: value for part in parts for name, value in part["metrics"].items()}
    return {
        "metrics": dict(sorted(metrics.items(), key=lambda each: each[0] != "mse")),  # mse first, as in the table
        "calibration": [row for part in parts for row in part["calibration"]],
        "details": {name: value for part in parts for name, value in part["details"].items()},
        "seconds": round(sum(part["seconds"] for part in parts), 1),
    }


def _are_parts(kept: dict) -> None:
    files.demand(kept, {"key": dict, "parts": dict})
    for part in kept["parts"].values():
        files.demand(part, {"metrics": dict, "calibration": list, "details": dict, "seconds": float})
