"""Table 1: every method by the same metrics, beside the paper's numbers.

`tidy` makes one row a method and metric out of the metrics of the runs that are there. A metric that a method cannot have is
not in it and shows as a dash; one that it can have but nobody measured has no value and shows as missing.
"""

from __future__ import annotations

import pandas as pd

from hybrid.experiments.methods import METHODS, TABLE, Method

COLUMNS = ("method", "metric", "value", "std", "seeds", "paper")

UNITS = {"mse": "MSE, 1e-3", "fid": "FID", "acc": "linear acc., %"}

STAND_INS = ("fd_", "kd_", "kid")  # distances that are not FID begin so

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


def tidy(dataset: str, measured: dict[str, dict[int, dict[str, float]]]) -> pd.DataFrame:
    """Table 1 as tidy rows. `measured` maps method -> seed -> metric -> value; `std` is over seeds, empty for one."""
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


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """Table 1 as the paper lays it out: a row a method, and for each metric our number and the paper's."""
    shown = pd.DataFrame(index=pd.Index([method.title for method in TABLE.values()], name="method"))
    cells = table.set_index(["method", "metric"])
    for metric in table["metric"].unique():
        ours, paper = [], []
        for method in TABLE.values():
            if (method.name, metric) not in cells.index:
                ours.append(DASH)
                paper.append(DASH)
                continue
            row = cells.loc[(method.name, metric)]
            ours.append(number(row["value"], row["std"]))
            paper.append(f"{row['paper']:g}" if pd.notna(row["paper"]) else "")
        shown[label(metric)] = ours
        if any(text not in ("", DASH) for text in paper):
            shown[f"{label(metric)} (paper)"] = paper
    return shown


def markdown(table: pd.DataFrame, samples: int) -> str:
    """Table 1 for a README, with what its words mean."""
    return f"{formatted(table).reset_index().to_markdown(index=False, disable_numparse=True)}\n\n{legend(table, samples)}\n"


def legend(table: pd.DataFrame, samples: int) -> str:
    """What the table's words mean, where methods are judged by this many of their samples."""
    return LEGEND.format(samples=samples) + (SHARES if "precision" in set(table["metric"]) else "")


LEGEND = (
    "Mean over the seeds measured, ± their standard deviation where there are several. A dash: the method has no such number. "
    "“missing”: it can have one, none was measured here. MSE per dimension on [0, 1]. `fd_…` and `kd_…` are distances on the "
    "features of the network named, not Inception's: they are not FID and KID and compare only among themselves. FID and these "
    "are of {samples:,} samples."
)

SHARES = (
    " Precision: the share of samples as near to train images as these are to each other; recall: the share of train images "
    "that samples come as near to (Kynkäänniemi et al. 2019, k = 3, features of EfficientNet-lite0)."
)


def label(metric: str) -> str:
    """A metric as a column's heading."""
    return UNITS.get(metric, metric)


def is_shown(metric: str) -> bool:
    """Whether a method's metric is a number of the table."""
    return metric in UNITS or _is_of_samples(metric)


def _is_of_samples(metric: str) -> bool:
    return metric.startswith(STAND_INS) or metric in ("precision", "recall")


def _metrics(method: Method, measured: dict) -> list[str]:
    """What the method can have: its own of mse, fid, acc, and the stand-ins of fid that any method was measured with."""
    stand_ins = {
        metric for seeds in measured.values() for metrics in seeds.values() for metric in metrics if _is_of_samples(metric)
    }
    return [m for m in ("mse", "fid", "acc") if m in method.metrics] + (sorted(stand_ins) if "fid" in method.metrics else [])


def number(value: float, std: float = float("nan")) -> str:
    """A number as the table writes it, ± its deviation where there is one."""
    if pd.isna(value):
        return MISSING
    digits = 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f}" + (f" ± {std:.{digits}f}" if pd.notna(std) else "")


def parts(metrics: dict[str, float]) -> pd.DataFrame:
    """What the hybrid's metrics say of y, w and z: a row each. Without labels nothing is known of classes."""
    columns = {"linear acc., %": "acc", "image moves by, 1e-3": "moved"}
    return pd.DataFrame(
        {title: {part: metrics.get(f"{name}_{part}", float("nan")) for part in "ywz"} for title, name in columns.items()}
    ).round(2)


def unconverged(outcome: dict) -> str:
    """Which of an outcome's probes did not come to their end, in a sentence; empty where all did."""
    names = [name for name, probe in outcome.get("details", {}).get("probes", {}).items() if not probe["converged"]]
    return f"Not converged: the probe on {', '.join(names)}; its accuracy may be too low." if names else ""


def calibration(judged: dict[str, dict]) -> pd.DataFrame:
    """Distances of images of known quality, and of each method's samples and reconstructions."""
    own = ("samples", "reconstructions of the test set")
    rows = [row for row in judged["hybrid"]["calibration"] if row["images"] not in own]
    for name, result in judged.items():
        rows += [
            row | {"images": f"{METHODS[name].title}: {row['images']}"} for row in result["calibration"] if row["images"] in own
        ]
    return pd.DataFrame(rows).set_index("images").round(2)


def verdict(on_y: dict[str, float], on_z: dict[str, float]) -> str:
    """What the ablation says of the paper's claim that a contrast on the whole of z makes reconstruction worse."""
    ratio = on_z["mse"] / on_y["mse"]
    paper = "the paper says that it gets larger"
    agrees = "No clear difference" if 0.95 <= ratio <= 1.05 else "This agrees" if ratio > 1 else "This disagrees"
    probes = f" The probe on z gives {on_z['acc_z']:.1f} % and {on_y['acc_z']:.1f} %." if "acc_z" in on_z else ""
    return (
        f"With the contrast on the whole of z the test error is {on_z['mse']:.2f}, with the contrast on y {on_y['mse']:.2f}: "
        f"{ratio:.2f} times as large. {agrees}: {paper}.{probes}"
    )
