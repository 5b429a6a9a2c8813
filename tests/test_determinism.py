"""Same seed, same machine, same threads: the same bits, of weights, histories and numbers. Another seed: others."""

from __future__ import annotations

import numpy as np
import pytest

from hybrid.cli import main
from hybrid.experiments.store import Store
from hybrid.training import checkpoint
from hybrid.training.history import read_history

METHODS = ("hybrid", "nvae", "ddim", "biggan")


def found(folder, monkeypatch, data, seed):
    """Digests of weights, histories without their times, and metrics of a run in a home of its own."""
    monkeypatch.setenv("HYBRID_HOME", str(folder))
    arguments = ["--profile", "smoke", "--dataset", str(data), "--seed", str(seed), "--methods"]
    assert main(["train", *arguments, *METHODS]) == 0
    assert main(["evaluate", *arguments, "contrast_on_z"]) == 0  # which draws no samples: their distances would take longer
    made = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix().replace(f"seed{seed}", "seed")
        if path.name == "checkpoint.pt":
            made[name] = checkpoint.digest(checkpoint.load(path)["weights"])
        elif path.name == "history.jsonl":
            made[name] = [{key: value for key, value in line.items() if key != "seconds"} for line in read_history(path)]
        elif path.suffix == ".json" and "results" in path.parts:
            made[name] = Store(path.parent).read(path.stem)["metrics"]
    return made


@pytest.mark.slow
def test_the_same_bits_again_and_others_with_another_seed(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    arrays = {f"{split}_images": draw.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "tiny.npz", **arrays, train_labels=np.arange(48) % 2, test_labels=np.arange(48) % 2)
    first, again, other = (
        found(tmp_path / name, monkeypatch, tmp_path / "tiny.npz", seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert len(first) == 6 + 6 + 1  # weights and histories, two of the hybrid, and an outcome
    assert first == again
    assert not [name for name in first if first[name] == other[name]]
