"""Write benchmark.npz, with samples and true values of the public benchmark of Czyz et al. (2023), for `hybrid bounds`.

The benchmark's package needs old versions of numpy and jax, so it needs a separate environment:

    python3.11 -m venv /tmp/bmi && /tmp/bmi/bin/pip install benchmark-mi==0.1.3 jax==0.4.30 jaxlib==0.4.30
    /tmp/bmi/bin/python results/bounds/benchmark.py

For each task, the file has <task>/x and <task>/z, float32 (2048, D). It also has `about`: JSON with the true values in nats,
the seed, and the source.
"""

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from bmi.benchmark import BENCHMARK_TASKS

COUNT, SEED = 2048, 2023
TASKS = (
    "multinormal-dense-2-2-0.5",
    "multinormal-dense-5-5-0.5",
    "multinormal-sparse-3-3-2-2.0",
    "multinormal-sparse-5-5-2-2.0",
    "student-identity-3-3-3",
    "student-identity-5-5-3",
    "asinh-student-identity-3-3-2",
    "asinh-student-identity-5-5-2",
    "spiral-multinormal-sparse-3-3-2-2.0",
    "spiral-multinormal-sparse-5-5-2-2.0",
)

arrays, truths = {}, {}
for name in TASKS:
    task = BENCHMARK_TASKS[name]
    x, z = task.sample(COUNT, SEED)
    arrays[f"{name}/x"], arrays[f"{name}/z"] = np.asarray(x, np.float32), np.asarray(z, np.float32)
    truths[name] = float(task.mutual_information)
about = {
    "truths": truths,
    "seed": SEED,
    "source": "benchmark-mi (MIT), https://github.com/cbg-ethz/bmi, Czyz et al., Beyond Normal, NeurIPS 2023",
    "versions": {package: version(package) for package in ("benchmark-mi", "jax", "jaxlib", "numpy", "scipy")},
    "python": platform.python_version(),
    "date": datetime.now(UTC).isoformat(timespec="seconds"),
}
path = Path(__file__).with_name("benchmark.npz")
np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)
print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
