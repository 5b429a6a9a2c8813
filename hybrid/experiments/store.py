"""What an experiment keeps of its methods: outcomes, arrays and histories, each under the key of what it depends on.

results/<profile>/<data set>/seed<n>/ holds <method>.json (an outcome), <name>.npz (arrays) and <method>-<stage>.jsonl (the
history of a training). Whatever was kept under another key, or is damaged, is made anew. The first of several processes reads
and writes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid.machine import distributed, files
from hybrid.machine.fingerprint import note, tell_difference
from hybrid.profiles.schema import updated
from hybrid.training.history import read_history


@dataclass(frozen=True)
class Key:
    """What an outcome depends on, as plain values; `method` among them describes a config of this `kind`."""

    values: dict
    kind: type

    def matches(self, kept: dict, parts: Iterable[str] | None = None) -> bool:
        """Whether a kept key, perhaps of an earlier version, has these values: all, or those of these parts."""
        return self.difference(kept, parts) is None

    def difference(self, kept: dict, parts: Iterable[str] | None = None) -> str | None:
        """The first part in which a kept key has another value."""
        kept = kept | {"method": as_json(updated(self.kind, kept.get("method", {})))}
        wanted = parts or kept.keys() | self.values.keys()
        return next((part for part in sorted(wanted) if kept.get(part) != self.values.get(part)), None)


def key_of(key: dict, provenance: dict) -> dict:
    """A kept key. In earlier versions the provenance alone told a published data set's SHA-256."""
    return {"sha256": provenance.get("sha256"), **key}


def is_outcome(kept: dict) -> None:
    """Raises ValueError for values that are no outcome."""
    files.demand(kept, {"key": dict, "metrics": dict, "provenance": dict, "calibration": list})
    files.demand(kept["metrics"], dict.fromkeys(kept["metrics"], (int, float)))
    files.demand(kept["provenance"], {"seed": int, "device": str})
    if not all(math.isfinite(value) for value in kept["metrics"].values()):
        raise ValueError("a metric is not finite")


def as_json(values: dict) -> dict:
    """The values as they are read back from JSON: lists for tuples."""
    return json.loads(json.dumps(values))


class Store:
    """The outcomes of one seed, in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, name: str) -> dict | None:
        """The kept outcome of that name, whatever its key; None where there is none, or it is damaged."""
        kept = files.read_json(self.folder / f"{name}.json", is_outcome)
        return kept if kept is None else kept | {"key": key_of(kept["key"], kept["provenance"])}

    def outcome(self, name: str, key: Key) -> dict | None:
        """The kept outcome of that key, with its `key` and `provenance`; None where there is none.

        One of another key is told, and so is one of other code or precision, which counts unless --strict refuses it.
        """

        def read() -> dict | None:
            kept, path = self.read(name), self.folder / f"{name}.json"
            if kept is None:
                return None
            if (part := key.difference(kept["key"])) is not None:
                note(f"{path} does not count: {part} is another now")
                return None
            tell_difference(str(path), kept["provenance"])
            return kept

        return distributed.on_rank_zero(read)

    def keep_outcome(self, name: str, key: Key, outcome: dict) -> dict:
        """Keep it, and return it with its key. Raises HybridError for a metric that is not finite."""
        files.check_finite(outcome["metrics"], name)
        kept = {"key": key.values, **outcome}
        files.write_json(self.folder / f"{name}.json", files.sealed(kept))
        return kept

    def arrays(
        self, name: str, key: Callable[[], Key], make: Callable[[], dict], provenance: Callable[[], dict], parts: Iterable[str]
    ) -> dict:
        """Arrays kept under the key, these `parts` and perhaps others; where there are none, those that `make` gives, kept with
        their provenance.

        Making them may train something, and so change the key: it is asked for again.
        """
        path = self.folder / f"{name}.npz"
        kept = files.load_arrays(path, (*parts, "key", "provenance"))
        if kept is None or not self._are_of(kept, key(), path):
            kept = make()
            kept["key"] = np.array(json.dumps(key().values))
            kept["provenance"] = np.array(json.dumps(provenance()))
            files.save_arrays(path, kept)
        return kept

    def _are_of(self, kept: dict, key: Key, path: Path) -> bool:
        """Whether kept arrays are of this key."""
        try:
            known, origin = (json.loads(str(kept[part])) for part in ("key", "provenance"))
            same = key.matches(key_of(known, origin))
        except (ValueError, TypeError, AttributeError) as error:
            files.set_aside(path, error)
            return False
        if same:
            tell_difference(str(path), origin)
        return same

    def history_path(self, name: str, stage: str) -> Path:
        return self.folder / f"{name}-{stage}.jsonl"

    def history(self, name: str, stage: str) -> list[dict]:
        """A stage's history, as `read_history`."""
        return read_history(self.history_path(name, stage))

    def keep_histories(self, name: str, stages: Iterable[str], run: Path) -> None:
        """Copy the histories of a run's stages, where they differ: a newer file would have the notebooks executed again."""

        def copy() -> None:
            for stage in stages:
                source, kept = run / stage / "history.jsonl", self.history_path(name, stage)
                if not read_history(source):  # of an earlier version's run, whose checkpoint does not hold it
                    continue
                content = source.read_bytes()
                if _content(kept) != content:
                    files.write_atomically(kept, lambda path, content=content: path.write_bytes(content))

        distributed.on_rank_zero(copy)

    def digest(self, histories: Iterable[tuple[str, str]]) -> str:
        """SHA-256 of the histories of these (method, stage), which tells one training from another: their times never agree."""
        contents = [_content(self.history_path(name, stage)) for name, stage in histories]
        return hashlib.sha256(b"".join(content for content in contents if content is not None)).hexdigest()


def _content(path: Path) -> bytes | None:
    return files.read_kept(path, lambda file: file.read())
