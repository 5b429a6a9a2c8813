"""The store of an experiment's results: outcomes, arrays and histories. A key identifies all that a result depends on.

results/<profile>/<data set>/seed<n>/ has <method>.json (an outcome), <name>.npz (arrays) and <method>-<stage>.jsonl (the
history of a training). A result that has another key or is damaged is made again. With several processes, only the first one
reads and writes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid.errors import tell
from hybrid.machine import distributed, files
from hybrid.machine.fingerprint import tell_difference
from hybrid.profiles.schema import updated
from hybrid.training.history import read_history


@dataclass(frozen=True)
class Key:
    """All that an outcome depends on, as plain values. Their `method` is the description of a config of this `kind`."""

    values: dict
    kind: type

    def matches(self, kept: dict, parts: Iterable[str] | None = None) -> bool:
        """Return whether a saved key, perhaps of an earlier version, has the same values: all of them, or those of `parts`."""
        return self.difference(kept, parts) is None

    def difference(self, kept: dict, parts: Iterable[str] | None = None) -> str | None:
        """Return the first part in which a saved key differs."""
        kept = kept | {"method": as_json(updated(self.kind, kept.get("method", {})))}
        wanted = parts or kept.keys() | self.values.keys()
        return next((part for part in sorted(wanted) if kept.get(part) != self.values.get(part)), None)


def key_of(key: dict, provenance: dict) -> dict:
    """Return a saved key. In earlier versions only the provenance had the SHA-256 of a published data set."""
    return {"sha256": provenance.get("sha256"), **key}


def is_outcome(kept: dict) -> None:
    """Raise ValueError if the values are not an outcome."""
    files.demand(kept, {"key": dict, "metrics": dict, "provenance": dict, "calibration": list})
    files.demand(kept["metrics"], dict.fromkeys(kept["metrics"], (int, float)))
    files.demand(kept["provenance"], {"seed": int, "device": str})
    if not all(math.isfinite(value) for value in kept["metrics"].values()):
        raise ValueError("a metric is not finite")


def in_another_precision(outcomes: dict[Path, dict]) -> dict[Path, str]:
    """Return those of a method's outcomes, in the order of seeds, that are in another precision than the first, with a message.

    An outcome of a version that did not note its precision fits any.
    """
    noted = {path: kept["provenance"].get("precision") for path, kept in outcomes.items()}
    first = next((own for own in noted.values() if own is not None), None)
    others = {path: own for path, own in noted.items() if own not in (None, first)}
    return {path: f"{path} is in {own}, {path.stem}'s first seed in {first}" for path, own in others.items()}


def as_json(values: dict) -> dict:
    """Return the values in the form in which JSON stores them, with lists instead of tuples."""
    return json.loads(json.dumps(values))


class Store:
    """The outcomes for one seed, in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, name: str) -> dict | None:
        """Return the saved outcome of this name with any key, or None if it is missing or damaged."""
        kept = files.read_json(self.folder / f"{name}.json", is_outcome)
        return kept if kept is None else kept | {"key": key_of(kept["key"], kept["provenance"])}

    def outcome(self, name: str, key: Key) -> dict | None:
        """Return the saved outcome with this key, with its `key` and `provenance`, or None if there is none.

        A line reports an outcome with another key. A line also reports one from other code or another precision, which is used
        unless --strict refuses it.
        """

        def read() -> dict | None:
            kept, path = self.read(name), self.folder / f"{name}.json"
            if kept is None:
                return None
            if (part := key.difference(kept["key"])) is not None:
                if part != "training":  # else it was trained again, as asked
                    tell(f"{path} does not count: its {part} has changed")
                return None
            tell_difference(str(path), kept["provenance"])
            return kept

        return distributed.on_rank_zero(read)

    def keep_outcome(self, name: str, key: Key, outcome: dict) -> dict:
        """Save the outcome, and return it with its key. Raises HybridError for a metric that is not finite."""
        files.check_finite(outcome["metrics"], name)
        kept = {"key": key.values, **outcome}
        files.write_json(self.folder / f"{name}.json", files.sealed(kept))
        return kept

    def arrays(
        self, name: str, key: Callable[[], Key], make: Callable[[], dict], provenance: Callable[[], dict], parts: Iterable[str]
    ) -> dict:
        """Return the saved arrays with the key, which must include `parts`, or else make and save them with their provenance.

        `make` may train something and so change the key, so the key is computed again afterwards.
        """
        path = self.folder / f"{name}.npz"
        kept = files.load_arrays(path, (*parts, "key", "provenance"))
        if kept is None or not self._are_of(kept, key(), path):
            kept = make()
            kept["key"] = np.array(json.dumps(key().values))
            kept["provenance"] = np.array(json.dumps(provenance()))
            files.save_arrays(path, kept)
        return kept

    def has_arrays(self, name: str, key: Key) -> bool:
        """Return whether arrays of this name with this key are saved."""
        path = self.folder / f"{name}.npz"
        kept = files.load_arrays(path, ("key", "provenance"))
        return kept is not None and self._are_of(kept, key, path)

    def _are_of(self, kept: dict, key: Key, path: Path) -> bool:
        """Return whether saved arrays have this key."""
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
        """Return a stage's history, like `read_history`."""
        return read_history(self.history_path(name, stage))

    def keep_histories(self, name: str, stages: Iterable[str], run: Path) -> None:
        """Copy the histories of a run's stages if they differ. A newer file would make the notebooks run again."""

        def copy() -> None:
            for stage in stages:
                source, kept = run / stage / "history.jsonl", self.history_path(name, stage)
                if not read_history(source):
                    continue
                content = source.read_bytes()
                if _content(kept) != content:
                    files.write_atomically(kept, lambda path, content=content: path.write_bytes(content))

        distributed.on_rank_zero(copy)

    def digest(self, histories: Iterable[tuple[str, str]]) -> str:
        """Return the SHA-256 of the histories of these (method, stage). They differ between trainings, by their times."""
        contents = [_content(self.history_path(name, stage)) for name, stage in histories]
        return hashlib.sha256(b"".join(content for content in contents if content is not None)).hexdigest()


def _content(path: Path) -> bytes | None:
    return files.read_kept(path, lambda file: file.read())
