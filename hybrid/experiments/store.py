"""What an experiment keeps of its methods: outcomes, arrays and histories, each under the key of what it depends on.

results/<profile>/<data set>/seed<n>/ holds <method>.json (an outcome), <name>.npz (arrays) and <method>-<stage>.jsonl (the
history of a training). Whatever was kept under another key is made anew. The first of several processes reads and writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid.machine import distributed, files
from hybrid.profiles.schema import updated
from hybrid.training.history import read_history


@dataclass(frozen=True)
class Key:
    """What an outcome depends on, as plain values; `method` among them describes a config of this `kind`."""

    values: dict
    kind: type

    def matches(self, kept: dict, parts: Iterable[str] | None = None) -> bool:
        """Whether a kept key, perhaps of an earlier version, has these values: all, or those of these parts."""
        kept = kept | {"method": as_json(updated(self.kind, kept.get("method", {})))}
        return all(kept.get(part) == self.values.get(part) for part in parts or kept.keys() | self.values.keys())


def as_json(values: dict) -> dict:
    """The values as they are read back from JSON: lists for tuples."""
    return json.loads(json.dumps(values))


class Store:
    """The outcomes of one seed, in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def outcome(self, name: str, key: Key) -> dict | None:
        """The kept outcome of that key, with its `key` and `provenance`; None where there is none."""

        def read() -> dict | None:
            kept = files.read_json(self.folder / f"{name}.json")
            return kept if kept is not None and key.matches(kept["key"]) else None

        return distributed.on_rank_zero(read)

    def keep_outcome(self, name: str, key: Key, outcome: dict) -> dict:
        """Keep it, and return it with its key."""
        kept = {"key": key.values, **outcome}
        files.write_json(self.folder / f"{name}.json", kept)
        return kept

    def arrays(self, name: str, key: Callable[[], Key], make: Callable[[], dict], provenance: Callable[[], dict]) -> dict:
        """Arrays kept under the key; where there are none, those that `make` gives, kept with their provenance.

        Making them may train something, and so change the key: it is asked for again.
        """
        path = self.folder / f"{name}.npz"
        kept = files.load_arrays(path)
        if kept is None or not key().matches(json.loads(str(kept["key"]))):
            kept = make()
            kept["key"] = np.array(json.dumps(key().values))
            kept["provenance"] = np.array(json.dumps(provenance()))
            files.save_arrays(path, kept)
        return kept

    def history_path(self, name: str, stage: str) -> Path:
        return self.folder / f"{name}-{stage}.jsonl"

    def history(self, name: str, stage: str) -> list[dict]:
        """A stage's history, as `read_history`."""
        return read_history(self.history_path(name, stage))

    def keep_histories(self, name: str, stages: Iterable[str], run: Path) -> None:
        """Copy the histories of a run's stages, where they differ: a newer file would have the notebooks executed again."""

        def copy() -> None:
            for stage in stages:
                content, kept = (run / stage / "history.jsonl").read_bytes(), self.history_path(name, stage)
                if not kept.exists() or kept.read_bytes() != content:
                    files.write_atomically(kept, lambda path, content=content: path.write_bytes(content))

        distributed.on_rank_zero(copy)

    def digest(self, histories: Iterable[tuple[str, str]]) -> str:
        """SHA-256 of the histories of these (method, stage), which tells one training from another: their times never agree."""
        paths = [self.history_path(name, stage) for name, stage in histories]
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths if path.exists())).hexdigest()
