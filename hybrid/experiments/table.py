"""Table 1: all methods with the same metrics, next to the paper's numbers.

`tidy` collects the metrics of the available runs, with one row per method and metric. It has no row for a metric that the
method does not support, which is shown as a dash. A metric that was not measured has no value, and is shown as missing.
Methods of which nothing was measured, and metrics that were measured for no method, are not shown (see `measured`).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd

from hybrid.experiments.methods import METHODS, TABLE, Method
from hybrid.judging.evaluate import FINE_IMAGES, FINE_STEPS
from hybrid.judging.frechet import KERNEL_IMAGES

COLUMNS = ("method", "metric", "value", "std", "seeds", "paper")

HEADINGS = {"mse": "MSE, 1e-3", "fid": "FID", "acc": "linear acc., %"}

PER_DIMENSION = "1e-3 per dimension, on [0, 1]"
# By the first part of a metric's name.
UNITS = {
    **dict.fromkeys(("mse", "median", "moved"), PER_DIMENSION),
    "acc": "%",
    "bits": "bits per dimension",
    **dict.fromkeys(("precision", "recall"), "share, 0 to 1"),
    **dict.fromkeys(("fid", "fd", "kid", "kd"), "distance, 0 is best"),
}

LARGE_IS_GOOD = ("acc", "precision", "recall")  # first parts of metrics' names; of all others small is good

STAND_INS = ("fd_", "kd_", "kid")  # prefixes of distances other than FID

MISSING = "missing"
DASH = "–"

# Table 1 of the paper: MSE in 1e-3 per dimension on [0, 1], FID, linear accuracy in percent.
PAPER = {
    "cifar10": {
        "hybrid": {"mse": 2.6, "fid": 34.6, "acc": 77.6},
        "mocov2": {"acc": 78.3},
        "nvae": {"mse": 0.25, "fid": 36.4, "acc": 18.8},
        "ddim": {"mse": 2.5, "fid": 3.2, "acc": 22.5},
        "biggan": {"fid": 18.6, "acc": 70.8},
    },
    "cifar100": {
        "hybrid": {"mse": 3.3, "fid": 41.2, "acc": 46.7},
        "mocov2": {"acc": 49.04},
        "nvae": {"mse": 0.53, "fid": 42.5, "acc": 4.1},
        "ddim": {"mse": 3.2, "fid": 13.3, "acc": 2.2},
        "biggan": {"fid": 22.2, "acc": 43.3},
    },
}

DATA_SETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}  # those of the paper's Table 1, with their titles


def of_outcomes(dataset: str, outcomes: dict[Path, dict]) -> pd.DataFrame:
    """Return Table 1 as tidy rows, from saved outcomes by their paths, <data set>/seed<n>/<method>.json."""
    measured: dict[str, dict[int, dict[str, float]]] = {}
    for path, kept in outcomes.items():
        measured.setdefault(path.stem, {})[int(path.parent.name.removeprefix("seed"))] = kept["metrics"]
    return tidy(dataset, measured)


def tidy(dataset: str, measured: dict[str, dict[int, dict[str, float]]]) -> pd.DataFrame:
    """Return Table 1 as tidy rows. `measured`: method -> seed -> metric -> value. `std` over seeds is empty for one seed."""
    rows = []
    for method in TABLE.values():
        seeds = measured.get(method.name, {})
        for metric in _metrics(method, measured):
            values = pd.Series({seed: metrics[metric] for seed, metrics in seeds.items() if metric in metrics}, dtype=float)
            rows.append(
                {
                    "method": method.name,
                    "metric": metric,
                    "value": values.mean(),
                    "std": values.std(),
                    "seeds": " ".join(str(seed) for seed in sorted(values.index)),
                    "paper": PAPER.get(dataset, {}).get(method.name, {}).get(metric),
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to show: methods with any value, and metrics that one of them has a value of, here or in the paper."""
    table = table[table["method"].isin(table.dropna(subset=["value"])["method"])]
    return table[table["metric"].isin(table.dropna(subset=["value", "paper"], how="all")["metric"])]


def best(table: pd.DataFrame, metric: str) -> list[str]:
    """Return the methods with the best value of a metric: none if fewer than two have a value, or if a share is 0 for all."""
    values = table[table["metric"] == metric].set_index("method")["value"].dropna().astype(float)
    if len(values) < 2:
        return []
    large = metric.split("_")[0] in LARGE_IS_GOOD
    winner = values.max() if large else values.min()
    return [] if large and winner == 0 else list(values.index[values == winner])


def distance(table: pd.DataFrame) -> str | None:
    """Return the distance of samples to show: FID if any method has it, else the stand-in that most methods have."""
    counts = table.dropna(subset=["value"])["metric"].value_counts()
    known = [metric for metric in sorted(counts.index) if metric == "fid" or metric.startswith("fd_")]
    return max(known, key=lambda metric: (metric == "fid", counts[metric]), default=None)


def has(table: pd.DataFrame, metric: str) -> bool:
    """Return whether any method has a value of a metric. Without labels there is no `acc`."""
    return bool(table.loc[table["metric"] == metric, "value"].notna().any())


def compares(table: pd.DataFrame) -> bool:
    """Return whether any column has a best value."""
    return any(best(table, metric) for metric in table["metric"].unique())


def formatted(table: pd.DataFrame, mark: str = "") -> pd.DataFrame:
    """Lay out Table 1 as in the paper: a row per method, and for each metric our number and the paper's.

    Only what was measured is shown. `mark` stands on both sides of the best of our numbers in each column; ** makes it bold in
    Markdown.
    """
    table = measured(table)
    methods = [TABLE[name] for name in dict.fromkeys(table["method"])]
    shown = pd.DataFrame(index=pd.Index([method.title for method in methods], name="method"))
    cells = table.set_index(["method", "metric"])
    for metric in table["metric"].unique():
        ours, paper, winners = [], [], best(table, metric)
        for method in methods:
            if (method.name, metric) not in cells.index:
                ours.append(DASH)
                paper.append(DASH)
                continue
            row = cells.loc[(method.name, metric)]
            around = mark if method.name in winners else ""
            ours.append(f"{around}{number(row['value'], row['std'])}{around}")
            paper.append(f"{row['paper']:g}" if pd.notna(row["paper"]) else "")
        if any(text not in (MISSING, DASH) for text in ours):
            shown[heading(metric)] = ours
        if any(text not in ("", DASH) for text in paper):
            shown[f"{heading(metric)} (paper)"] = paper
    return shown


def markdown(table: pd.DataFrame, samples: int) -> str:
    """Format Table 1 as Markdown, with the best of each column bold, and a legend."""
    text = formatted(table, "**").reset_index().to_markdown(index=False, disable_numparse=True)
    return f"{text}\n\n{legend(table, samples)}\n"


def legend(table: pd.DataFrame, samples: int) -> str:
    """Return a legend of what the table has. `samples`: how many samples of each method are compared."""
    table, cells = measured(table), set(formatted(table).to_numpy().ravel())
    known = set(table.dropna(subset=["value"])["metric"])
    kernel = f", a KD the first {KERNEL_IMAGES:,}" if samples > KERNEL_IMAGES else ""
    sentences = {
        f"Numbers are means, ± the standard deviation over seeds (their number: {_counts(table)}).": table["std"].notna().any(),
        "The best value of a column is bold.": compares(table),
        "A dash means that the method cannot have this number.": DASH in cells,
        "“missing” means that this number was not measured.": MISSING in cells,
        "The MSE is per dimension, on [0, 1].": "mse" in known,
        STAND_IN: any(metric.startswith(("fd_", "kd_")) for metric in known),
        f"Each distance uses {samples:,} samples{kernel}.": any(metric.startswith(("fid", *STAND_INS)) for metric in known),
        SHARES: "precision" in known,
    }
    return " ".join(sentence for sentence, applies in sentences.items() if applies)


def _counts(table: pd.DataFrame) -> str:
    """Say how many seeds each method has."""
    counts = table["seeds"].str.split().str.len().groupby(table["method"]).max()
    return ", ".join(f"{TABLE[name].title} {counts[name]}" for name in TABLE if name in counts)


STAND_IN = (
    "FD and KD are the Fréchet and the kernel distance on the features of the named network, not Inception's: they are not FID "
    "and KID, and are comparable only within a column."
)

SHARES = (
    "Precision is the share of samples that are as near to train images as these are to each other. Recall is the share of "
    "train images that are as near to samples (Kynkäänniemi et al. 2019, k = 3, features of EfficientNet-lite0)."
)


def heading(metric: str) -> str:
    """Return the column heading of a metric, such as "FD, EfficientNet-lite0" for fd_efficientnet_lite0."""
    if stand_in := re.fullmatch(r"(fd|kd)_(.+)", metric):
        return f"{stand_in[1].upper()}, {stand_in[2].replace('efficientnet_', 'EfficientNet-')}"
    return HEADINGS.get(metric, metric)


def unit(metric: str) -> str:
    """Return the unit of a metric in words, such as "%"; empty for a metric that this module does not know."""
    return UNITS.get(metric.split("_")[0], "")


def is_shown(metric: str) -> bool:
    """Return whether the table shows this metric."""
    return metric in HEADINGS or is_of_samples(metric)


def is_of_samples(metric: str) -> bool:
    """Return whether the metric compares samples with the train set."""
    return metric.startswith(STAND_INS) or metric in ("precision", "recall")


def _metrics(method: Method, measured: dict) -> list[str]:
    """Return the metrics of `HEADINGS` that the method has, or that were measured for it. With FID, also return all stand-ins
    that were measured for any method."""
    stand_ins = {
        metric for seeds in measured.values() for metrics in seeds.values() for metric in metrics if is_of_samples(metric)
    }
    own = {*method.metrics, *(metric for metrics in measured.get(method.name, {}).values() for metric in metrics)}
    return [metric for metric in HEADINGS if metric in own] + (sorted(stand_ins) if "fid" in method.metrics else [])


def number(value: float, std: float = float("nan")) -> str:
    """Format a number as in the table, with ± its deviation if there is one, which then says how many digits count."""
    if pd.isna(value):
        return MISSING
    places = decimals(std) if std > 0 else 2 if abs(value) < 10 else 1
    shown = f"{round(value, places) + 0:.{places}f}"  # never -0.00
    return shown + (f" ± {std:.{places}f}" if pd.notna(std) else "")


def decimals(spread: float) -> int:
    """Return the decimals of a number that scatters by `spread` > 0: up to the spread's first digit, the second after a 1."""
    first = math.floor(math.log10(spread))
    return max(0, (spread < 2 * 10**first) - first)


def parts(metrics: dict[str, float]) -> pd.DataFrame:
    """Return the hybrid's metrics of y, w and z, one row each. Without labels there is no column of accuracies."""
    columns = {"linear acc., %": "acc", "image moves by, 1e-3": "moved"}
    found = {title: {part: metrics.get(f"{name}_{part}", float("nan")) for part in "ywz"} for title, name in columns.items()}
    return pd.DataFrame(found).dropna(axis="columns", how="all").round(2)


def unconverged(outcome: dict) -> str:
    """Return a sentence that names the probes of an outcome that did not converge; empty if all did."""
    names = [name for name, probe in outcome.get("details", {}).get("probes", {}).items() if not probe["converged"]]
    return f"Not converged: the probe on {', '.join(names)}; its accuracy may be too low." if names else ""


def finer(metrics: dict[str, float]) -> str:
    """Return a sentence that compares the DDIM's x_T with that of more steps; empty if this was not measured."""
    if "acc_x_T_fine" not in metrics:
        return ""
    return (
        f"DDIM's x_T is computed in few steps. A probe on {FINE_IMAGES} train images gets {metrics['acc_x_T_coarse']:.1f} % of "
        f"{FINE_IMAGES} test images right with it, and {metrics['acc_x_T_fine']:.1f} % with that of {FINE_STEPS} steps."
    )


def calibration(judged: dict[str, dict]) -> pd.DataFrame:
    """Return the distances of images of known quality, and of each method's samples and reconstructions."""
    own = ("samples", "reconstructions of the test set")
    rows = [row for row in judged["hybrid"]["calibration"] if row["images"] not in own]
    for name, result in judged.items():
        rows += [
            row | {"images": f"{METHODS[name].title}: {row['images']}"} for row in result["calibration"] if row["images"] in own
        ]
    return pd.DataFrame(rows).set_index("images").round(2)


def verdict(on_y: dict[str, float], on_z: dict[str, float]) -> str:
    """State the result of the ablation. The paper claims that a contrast on all of z makes reconstruction worse."""
    ratio = on_z["mse"] / on_y["mse"]
    paper = "the paper says that it gets larger"
    agrees = "No clear difference" if 0.95 <= ratio <= 1.05 else "This agrees" if ratio > 1 else "This disagrees"
    probes = f" The probe on z gives {on_z['acc_z']:.1f} % and {on_y['acc_z']:.1f} %." if "acc_z" in on_z else ""
    return (
        f"With the contrast on the whole of z the test error is {on_z['mse']:.2f}, with the contrast on y {on_y['mse']:.2f}: "
        f"{ratio:.2f} times as large. {agrees}: {paper}.{probes}"
    )
