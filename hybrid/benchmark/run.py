"""The benchmark compares this package with the libraries that people would use instead, and with the machine's limit.

Each pair consists of our code and a peer's. Both alternate in one process, so if the machine slows down it slows both. The
result is the median, over turns, of the peer's seconds divided by ours. `contenders`, `contenders_probe` and
`contenders_frechet` define the pairs; `roofline` compares the training step with its own convolutions.
"""

from __future__ import annotations

import random
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.benchmark import contenders, contenders_probe
from hybrid.benchmark.contenders import Counts, Pair, Setting, Workload
from hybrid.benchmark.contenders_frechet import pytorch_fid
from hybrid.benchmark.roofline import roofline
from hybrid.errors import HybridError
from hybrid.experiments.table import decimals
from hybrid.machine import precision
from hybrid.machine.files import read_json, write_atomically, write_json
from hybrid.machine.precision import best_device
from hybrid.machine.provenance import device_in_words, provenance
from hybrid.profiles import overrides, schema
from hybrid.showing import figures

COLUMNS = (
    "pair",
    "peer",
    "ours_seconds",  # median over turns
    "peer_seconds",
    "ratio_median",  # over turns: the peer's seconds divided by ours
    "ratio_min",
    "ratio_max",
    "runs",  # turns of each
    "images",  # processed in one turn
    "ours_accuracy",  # percent
    "peer_accuracy",
    "note",
    "commit",
    "date",
)
VERSIONS = ("torchvision", "kornia", "lightly", "diffusers", "pytorch-fid", "scipy", "scikit-learn")
QUICK = Counts(images=8, steps=1, latents=2, sampler_steps=2, fid_images=4, fid_dims=64, features=300)
QUICK_PROFILE = "smoke,hybrid.representation.training.batch=8"
SHARE = "hybrid_step"  # the ratio of this pair is a fraction, at most 1


def bench(
    out: Path,
    seconds: float = 30.0,
    pairs: tuple[str, ...] = (),
    profile: str = "laptop",
    fid_images: int = 5000,
    quick: bool = False,
) -> Path:
    """Measure the `pairs` (default: all) for about `seconds` each, and return the path of the table, `out`/<machine>.csv.

    The table is written after each pair; rows of other pairs stay in it. <machine>.json records the provenance of each row;
    <machine>.png and .pdf show them. `profile` sets the networks and batches. `fid_images` is the number of images for the
    Fréchet distance, by far the longest turn. `quick` runs all the code on almost no data; its numbers mean nothing.

    Raises HybridError for unknown names, `seconds` of 0 or less, and fewer than two `fid_images`.
    """
    if seconds <= 0 or fid_images < 2:
        raise HybridError(f"seconds = {seconds}, fid_images = {fid_images}: give seconds above 0 and at least two images")
    names = list(dict.fromkeys(pair.name for pair in PAIRS))
    for name in pairs:
        if name not in names:
            raise HybridError(f"pair {name!r} is unknown: choose among {', '.join(names)}")
    counts = QUICK if quick else Counts(fid_images=fid_images)
    setting = Setting(overrides.profile(QUICK_PROFILE if quick else profile), best_device(), counts)
    torch.backends.cudnn.benchmark = setting.device.type == "cuda"  # for both, as in training
    machine = f"{device_in_words(setting.device)}, {precision.name(setting.device)}"
    print(f"{machine}: seconds of a turn, and how many times as long the peer takes [least, most]")
    # A quick run never overwrites a measurement.
    stem = out / re.sub(r"[^a-z0-9]+", "-", f"{machine}{' quick' * quick}".lower()).strip("-")
    path = stem.with_name(f"{stem.name}.csv")
    about = {"device": machine, "profile": setting.profile.name, "seconds": seconds, "quick": quick}
    origin = provenance(**about, counts=schema.describe(counts), peers={name: _version(name) for name in VERSIONS})
    measured, known = _earlier(path), read_json(path.with_suffix(".json")) or {}
    # Older files have one origin for all peers of a pair.
    origins = {name: known[key] for p in PAIRS for name in [f"{p.name}, {p.peer}"] for key in (p.name, name) if key in known}
    for pair in PAIRS:
        if not pairs or pair.name in pairs:
            row = compare(pair, setting, seconds) | {name: origin[name] for name in ("commit", "date")}
            print(line(row), flush=True)
            if "ratio_median" in row or (pair.name, pair.peer) not in measured:  # a missing peer takes no measured row's place
                measured[pair.name, pair.peer] = row
                origins[f"{pair.name}, {pair.peer}"] = origin
            rows = [measured[p.name, p.peer] for p in PAIRS if (p.name, p.peer) in measured]
            table = pd.DataFrame(rows, columns=list(COLUMNS))
            write_atomically(
                path, lambda file, table=table: table.to_csv(file, index=False, float_format="%.6g", encoding="utf-8")
            )
            write_json(path.with_suffix(".json"), origins)
    figures.save_figure(draw(table, machine), stem)
    return path


def compare(pair: Pair, setting: Setting, seconds: float) -> dict:
    """Measure a pair and return a row of the table, without numbers if the peer is not installed."""
    row: dict[str, Any] = {"pair": pair.name, "peer": pair.peer}
    for seed in (random.seed, np.random.seed, torch.manual_seed):  # a peer may use any of them
        seed(0)
    try:
        with pair.prepare(setting) as work:
            measured = measure(work, seconds, finish=torch.cuda.synchronize if setting.device.type == "cuda" else _no_wait)
    except ImportError as error:
        return row | {"note": f"not installed: pip install '{pair.requires}' ({error})"}
    ours, peer = statistics.median(measured.ours), statistics.median(measured.peer)
    row |= {
        "ours_seconds": ours,
        "peer_seconds": peer,
        "ratio_median": statistics.median(measured.ratios),
        "ratio_min": min(measured.ratios),
        "ratio_max": max(measured.ratios),
        "runs": len(measured.ratios),
        "images": work.images,
        "note": f"{work.images / ours:.4g} and {work.images / peer:.4g} images a second; {work.note}",
    }
    if work.returns == "accuracy":
        row |= {"ours_accuracy": measured.results[0], "peer_accuracy": measured.results[1]}
    if work.returns == "distance":
        row["note"] += "; distances {:.6g} and {:.6g}".format(*measured.results)
    return row


@dataclass(frozen=True)
class Measured:
    """The seconds of each turn and the results of the last turns."""

    ours: tuple[float, ...]  # seconds
    peer: tuple[float, ...]  # seconds
    results: tuple[object, object]  # ours, the peer's

    @property
    def ratios(self) -> list[float]:
        """The peer's seconds divided by ours, for each turn. Above 1 our code is faster."""
        return [peer / ours for ours, peer in zip(self.ours, self.peer, strict=True)]


def _no_wait() -> None:
    pass


def measure(
    work: Workload, seconds: float, clock: Callable[[], float] = time.perf_counter, finish: Callable[[], None] = _no_wait
) -> Measured:
    """Time our code and the peer's alternately until `seconds` have passed, each at least once.

    The first turn of each is a warm-up and does not count, unless it took all the time. `finish` waits for the device.
    """

    def timed(turn: Callable[[], object]) -> tuple[float, object]:
        finish()
        started = clock()
        result = turn()
        finish()
        return clock() - started, result

    started, turns = clock(), [(timed(work.ours), timed(work.peer))]
    if clock() - started < seconds:
        turns = []
    while not turns or clock() - started < seconds:
        turns.append((timed(work.ours), timed(work.peer)))
    ours, peer = zip(*turns, strict=True)
    return Measured(tuple(t for t, _ in ours), tuple(t for t, _ in peer), (ours[-1][1], peer[-1][1]))


def line(row: dict) -> str:
    """Format a row of the table as a line of text."""
    name = f"{row['pair']:17} {row['peer']:32}"
    if "ratio_median" not in row:
        return f"{name} {row['note']}"
    accuracy = f"  {row['ours_accuracy']:.1f} % and {row['peer_accuracy']:.1f} %" if "ours_accuracy" in row else ""
    seconds = f"{row['ours_seconds']:10.4f} {row['peer_seconds']:10.4f}"
    return f"{name} {seconds} {row['ratio_median']:8.2f} [{row['ratio_min']:.2f}, {row['ratio_max']:.2f}]{accuracy}"


def draw(table: pd.DataFrame, machine: str) -> Figure:
    """Draw the medians as points and the smallest and largest ratios as whiskers, on a logarithmic axis with a line at 1.

    The medians have the digits that their spread allows.
    """
    shown = table.dropna(subset="ratio_median").reset_index(drop=True)
    shown["label"] = shown["pair"].str.replace("_", " ") + "\n" + shown["peer"]
    shown["ratio"] = (shown["pair"] == SHARE).map({False: "peer's time over ours", True: "roofline share, at most 1"})
    look = {"s": 45, "zorder": 2, "palette": figures.COLOURS[: shown["ratio"].nunique()]}
    with figures.charts(grid="0.92"):
        figure, axis = plt.subplots(figsize=(6.5, 0.42 * len(shown) + 1.3), layout="constrained")
        axis.hlines(range(len(shown)), shown["ratio_min"], shown["ratio_max"], color="0.6", linewidth=1.5, zorder=1)
        sns.scatterplot(shown, x="ratio_median", y="label", hue="ratio", style="ratio", ax=axis, **look)
        for place, (ratio, low, high) in enumerate(shown[["ratio_median", "ratio_min", "ratio_max"]].to_numpy()):
            places = decimals((high - low) / 2) if high > low else 2
            axis.annotate(f"{ratio:.{places}f}", (ratio, place), (0, 5), textcoords="offset points", ha="center", color="0.3")
        axis.axvline(1, color="0.3", linewidth=1)
        axis.set(xscale="log", xlabel="median of the turns' ratios; right of 1 we are ahead", ylabel="", title=machine)
        axis.xaxis.set_major_formatter("{x:g}")
        if len(shown):
            axis.set_xlim(shown["ratio_min"].min() / 1.2, shown["ratio_max"].max() * 1.2)
            axis.get_legend().remove()
            figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        sns.despine(figure, left=True)
    return figure


def _earlier(path: Path) -> dict[tuple[str, str], dict]:
    """Return the rows of a table by pair and peer; none if the file is missing or damaged."""
    try:
        return {(row["pair"], row["peer"]): row for row in pd.read_csv(path).to_dict("records")}
    except (FileNotFoundError, ValueError, KeyError):
        return {}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


PAIRS = (
    *contenders.PAIRS,
    *contenders_probe.PAIRS,
    Pair("frechet_distance", "pytorch-fid", "pytorch-fid>=0.3", pytorch_fid),
    Pair(SHARE, "its convolutions alone", "", roofline),
)
