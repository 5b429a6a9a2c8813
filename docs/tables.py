"""The numbers of README.md and docs/, read from results/: whole tables, and single numbers in the text.

    <!-- table summary laptop -->     the lines up to <!-- end --> come from the function of that name below
    78.8<!--laptop hybrid acc-->      the number before the comment: a name in FOLDERS, or paper or paper100, a method, a metric
    50.7<!--ladder guided fd-->       the same of a step of results/bench/generation.jsonl, see LADDER
    96.5<!--tradeoff digits alpha=0 acc_y-->   a name in SWEEPS, a setting, a column; "sd" after it: the deviation over seeds
    3.06<!--contrasts own z mse-->   a name in CONTRASTS, what the contrast sees, a column; "sd" likewise
    7.07<!--bounds estimate correlated Gaussians, 10 nats/trained both-->   a column, a case, an estimator, perhaps /m=64
    0.93<!--nearest hybridplus features-->   of `laptop`: samples' mean distance to train images, relative to test images
    48.2<!--probe cifar10 cifar10 w 20-NN acc., %-->   released weights, a data set, a part, a column of `hybrid probe`
    0.97<!--factors demo class, y-->   a profile, a factor and the part of the code that a probe sees; "sd" likewise
    0.65<!--controls error mean y-->   a script in results/bench, a section of its file, the names on the way to the number
    8.01<!--screened nvae demo/mse-->   a stage of `hybrid screen`, a profile, a number

A number keeps the decimals that it is written with. `python docs/generate.py` writes all of them anew, and
tests/test_docs.py fails where one differs from the results.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from functools import cache, partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
from checkout import committed

from hybrid.experiments.methods import TABLE, Method
from hybrid.experiments.store import in_another_precision
from hybrid.experiments.table import DATA_SETS, PAPER, best, number
from hybrid.judging.factors import PARTS
from hybrid.showing import figure6
from hybrid.showing.bounds import TITLES
from hybrid.workflows import tradeoff as tradeoffs

ROOT = Path(__file__).resolve().parents[1]
# Committed results, by the names that pages call them by.
PLAIN = "demo,hybrid.representation.augmentation.jitter=0,hybrid.representation.augmentation.grey=0"  # views keep their colours
FOLDERS = {"demo": "demo/digits", "laptop": "laptop/cifar10", "laptop100": "laptop/cifar100", "plain": f"{PLAIN}/digits"}
# Profiles in results/tradeoff/demo-digits-contrast.json, and `demo`'s own rows, with the names that pages call them by.
CONTRASTS = {
    "own": ("demo", "demo, alpha = 0.0001"),
    "tenfold": ("demo,hybrid.representation.alpha=1e-3", "alpha = 0.001"),
    "hundredfold": ("demo,hybrid.representation.alpha=1e-2", "alpha = 0.01"),
    "plain": (PLAIN, "alpha = 0.0001, views keep their colours"),
}
BOTH = dict(zip(("laptop", "laptop100"), DATA_SETS.values(), strict=True))
NONE = "–"
FD, WITNESS = "fd_efficientnet_lite0", "fd_efficientnet_lite1"
OWN_IMAGES = ("samples", "reconstructions of the test set")  # calibration rows of a method, not of the data set

# The steps from one DDIM on z to Hybrid+, as rows of results/bench/generation.jsonl: all on the same codes and train images.
LADDER = {
    "joint": {"trial": "joint smooth None"},  # one DDIM on all of z
    "all": {"trial": "base", "y": "sem"},  # all components of y, then w given them, without guidance
    "first": {"K": 64, "y": "sem", "guidance": 1.0},  # its largest components, then w given them
    "guided": {"K": 64, "y": "sem", "guidance": 2.0},  # and with guidance 2
}
# Files in results/tradeoff; of one with several profiles, the epochs of the first stage in the rows to take.
SWEEPS = {"digits": ("demo-digits", None), "cifar10": ("laptop-cifar10", None), "contrast": ("laptop-cifar10-contrast", 33)}
CASES = {  # of results/bounds, with the names that the documentation uses
    "correlated Gaussians, 4 nats": "correlated Gaussians",
    "correlated Gaussians, 10 nats": "correlated Gaussians",
    "cubed Gaussians, 4 nats": "cubed Gaussians",
    "multinormal-sparse-3-3-2-2.0": "two pairs 3 + 3",
    "spiral-multinormal-sparse-3-3-2-2.0": "spiral 3 + 3",
    "student-identity-5-5-3": "Student 5 + 5, 3 degrees",
    "asinh-student-identity-5-5-2": "asinh of Student 5 + 5",
    "1 digit, class kept 100%": "one digit",
    "1 digit, class kept 80%": "one digit, another class in a fifth",
    "2 digits, class kept 100%": "two digits",
}
ENDS = {
    ("alpha", 0.0): "0: MoCo-v2",
    ("alpha", 1.0): "1: an autoencoder",
    ("y_channels", 6): "6: contrast and accuracy on all of z",
}

BLOCK = re.compile(r"(<!-- table (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NUMBER = re.compile(r"(-?\d[\d,]*(?:\.\d+)?)(<!--(\w+) (\w+) ([^>]+?)-->)")


def update(text: str) -> str:
    """`text` with its tables and numbers as results/ has them."""
    text = BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]](found[3])}\n{found[4]}", text)
    return NUMBER.sub(lambda found: _as_written(found[1], value(*found.groups()[2:])) + found[2], text)


def value(profile: str, method: str, metric: str) -> float:
    """A metric, averaged over seeds; `deviation/<metric>` over seeds; `seed<n>/<metric>` of one seed;
    `calibration/<images>/<metric>` for a calibration row."""
    if profile in READERS:
        return READERS[profile](method, metric)
    if metric.startswith("deviation/"):
        return stdev(values(profile, method, metric.partition("/")[2]))
    if (of_seed := re.fullmatch(r"seed(\d+)/(.+)", metric)) is not None:
        return next(kept["metrics"][of_seed[2]] for kept in outcomes(profile, method) if kept["key"]["seed"] == int(of_seed[1]))
    if metric.startswith("calibration/"):
        _, images, metric = metric.split("/")
        return mean(row[metric] for kept in outcomes(profile, method) for row in kept["calibration"] if row["images"] == images)
    if not (found := values(profile, method, metric)):
        raise KeyError(f"no committed outcome of {method} at {profile} has {metric}")
    return mean(found)


def values(profile: str, method: str, metric: str) -> list[float]:
    """A metric of every seed that has it."""
    return [kept["metrics"][metric] for kept in outcomes(profile, method) if metric in kept["metrics"]]


@cache
def outcomes(profile: str, method: str) -> list[dict]:
    """The committed outcomes of a method, one a seed, in one precision, like those of table1.csv."""
    paths = committed(f"results/{FOLDERS[profile]}/seed*/{method}.json")
    kept = {
        path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths, key=lambda path: int(path.parent.name[4:]))
    }
    others = in_another_precision(kept)
    return [outcome for path, outcome in kept.items() if path not in others]


@cache
def _ladder() -> dict[str, dict]:
    lines = (ROOT / "results" / "bench" / "generation.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "fd" in row]
    return {name: next(row for row in rows if wanted.items() <= row.items()) for name, wanted in LADDER.items()}


def operations(profile: str, method: str) -> str:
    """The work of training a method, in 1e15 operations, as `work` has it."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in work(profile).splitlines()]
    column = rows[0].index("operations, 1e15")
    return next(row[column] for row in rows if row[0] == method)


def summary(_: str) -> str:
    """The front page's table: accuracy, error and distance beside the paper's, and the training's work.

    It has the data sets on which the hybrid is judged, and the methods that are judged on each.
    """
    runs = {run: title for run, title in BOTH.items() if outcomes(run, "hybrid")}
    has_fid = any(values(run, method, "fid") for run in runs for method in TABLE)
    head = ["data set", "method", "accuracy, %", "paper", "error, 1e-3", "paper"]
    head += ["FID"] * has_fid + ["FD (EfficientNet, not FID)", "FID in the paper", "training, 1e15 operations"]
    rows = []
    for run, title in runs.items():
        for name, method in _judged(run).items():
            row = [title, method.title]
            for metric in ("acc", "mse"):
                row += [_ours(run, name, metric), _paper(run, name, metric)]
            row += [_ours(run, name, "fid")] * has_fid + [_ours(run, name, FD), _paper(run, name, "fid")]
            rows.append([*row, operations(run, method.title)])
    first = 0 if len(runs) > 1 else 1  # one data set needs no name
    return markdown(head[first:], [row[first:] for row in rows])


def detail(profile: str) -> str:
    """Every number that methods share, for those that are judged."""
    metrics = {
        "acc": "accuracy, %",
        "mse": "error, 1e-3",
        "fid": "FID",
        FD: "FD, lite0",
        "kd_efficientnet_lite0": "KD, lite0",
        WITNESS: "FD, lite1",
        "kd_efficientnet_lite1": "KD, lite1",
        "precision": "precision",
        "recall": "recall",
    }
    metrics = {key: title for key, title in metrics.items() if any(values(profile, method, key) for method in TABLE)}
    rows = [[method.title, *(_ours(profile, name, key) for key in metrics)] for name, method in _judged(profile).items()]
    return markdown(["method", *metrics.values()], rows)


def by_epochs(profile: str) -> str:
    """Methods with trainings of several lengths, by their epochs: the table's own, and profiles that change nothing else."""
    folder, _, dataset = FOLDERS[profile].partition("/")
    metrics = {
        "acc": "accuracy, %",
        FD: "FD, lite0",
        "kd_efficientnet_lite0": "KD, lite0",
        WITNESS: "FD, lite1",
        "recall": "recall",
    }
    rows = []
    for name, method in TABLE.items():
        paths = committed(f"results/{folder},{name}.training.epochs=*/{dataset}/seed0/{name}.json")
        found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        for kept in sorted(found and [outcomes(profile, name)[0], *found], key=_epochs):
            rows.append([method.title, str(_epochs(kept)), *(number(kept["metrics"][metric]) for metric in metrics)])
    return markdown(["method", "epochs", *metrics.values()], rows)


def _epochs(outcome: dict) -> int:
    return outcome["key"]["method"]["training"]["epochs"]


def parts(profile: str) -> str:
    """Accuracy of each part of the code, and how much the image changes with it."""
    titles = {"y": "y (the table's)", "w": "w", "z": "z = [y, w]"}
    rows = [
        [title, *(_spread(values(profile, "hybrid", f"{name}_{part}"), digits) for name, digits in (("acc", 1), ("moved", 2)))]
        for part, title in titles.items()
    ]
    return markdown(["part of the hybrid's code", "linear accuracy, %", "the image changes by, 1e-3 per dimension"], rows)


def calibration(profile: str) -> str:
    """The distances of images of known quality, and of every method's samples and reconstructions."""
    metrics = {FD: "FD, lite0", "kd_efficientnet_lite0": "KD, lite0", "precision": "precision", "recall": "recall"}
    metrics |= {WITNESS: "FD, lite1"}
    rows = [row for row in outcomes(profile, "hybrid")[0]["calibration"] if row["images"] not in OWN_IMAGES]
    for name, method in TABLE.items():
        kept = next((each["calibration"] for each in outcomes(profile, name)), [])
        rows += [row | {"images": f"{method.title}: {row['images'].split()[0]}"} for row in kept if row["images"] in OWN_IMAGES]
    metrics = {key: title for key, title in metrics.items() if any(key in row for row in rows)}
    cells = [[row["images"], *(number(row[key]) if key in row else NONE for key in metrics)] for row in rows]
    return markdown(["images", *metrics.values()], cells)


def given(profile: str) -> str:
    """The numbers of figure 6: the class and the looks of images with one y, and with one w."""
    with np.load(ROOT / "results" / FOLDERS[profile] / "seed0" / "figure6.npz") as data:
        found = figure6.numbers(dict(data))
    digits = {column: 0 if column.endswith("%") else 2 for column in found}
    cells = [
        [
            NONE if math.isnan(value) else f"{round(value, digits[column]) + 0:.{digits[column]}f}"
            for column, value in row.items()
        ]
        for _, row in found.iterrows()
    ]
    return markdown(["images", *found.columns], [[name, *row] for name, row in zip(found.index, cells, strict=True)])


def work(profile: str) -> str:
    """The work of training each method, as the first seed's run has it."""
    text = (ROOT / "results" / FOLDERS[profile] / "seed0" / "work.md").read_text(encoding="utf-8")
    return text.partition("\n\n")[0]


def transfer(run: str) -> str:
    """Accuracies of probes on released weights, on other data sets than theirs too: files of `hybrid probe`."""
    rows = []
    for path in sorted((ROOT / "results" / "probe").glob(f"{run}-on-*/probe.json")):
        kept = json.loads(path.read_text(encoding="utf-8"))
        cells = [f"{value:.1f}" for accuracies in kept["accuracies"].values() for value in accuracies.values()]
        rows.append([kept["provenance"]["dataset"], *cells, f"{kept['chance']:.1f}"])
    assert rows, f"results/probe has nothing of {run}: hybrid probe --run {run}"
    parts = [f"{part}, {how}" for part in "ywz" for how in ("linear", "20-NN")]
    return markdown(["data set", *parts, "most frequent class"], rows)


def faults(_: str) -> str:
    """What `make test-faults` counted, by kind."""
    ends, targets = ("survived", "stopped", "lost"), {}
    counts: dict[str, Counter[str]] = {}
    for what, count in _counted("faults").items():
        kind, _, target = what.partition(": ")
        targets.setdefault(kind, []).append(target)
        counts.setdefault(kind, Counter()).update(count)
    counts["**all**"] = sum(counts.values(), Counter())
    rows = [
        [kind.replace("_", " "), ", ".join(targets.get(kind, ())), str(count.total()), *(str(count[end]) for end in ends)]
        for kind, count in counts.items()
    ]
    return markdown(["fault", "of", "tried", *ends], rows)


def inputs(_: str) -> str:
    """What `make test-inputs` counted."""
    counts = _counted("inputs")
    return markdown(
        ["inputs", "tried"], [[kind, f"{count:,}"] for kind, count in (counts | {"**all**": sum(counts.values())}).items()]
    )


def mutants(_: str) -> str:
    """What `make test-mutants` counted, by module."""
    found: dict[str, list[dict]] = {}
    for row in _counted("mutants")["mutants"]:
        found.setdefault(row["file"], []).append(row)
    rows = [[f"`{file}`", str(len(each)), str(sum(row["caught"] for row in each))] for file, each in found.items()]
    rows.append(["**all**", *(str(sum(int(row[i]) for row in rows)) for i in (1, 2))])
    return markdown(["module", "tried", "caught"], rows)


def survivors(_: str) -> str:
    """The mutants that no test caught."""
    rows = [[f"`{row['file']}`", row["what"]] for row in _counted("mutants")["mutants"] if not row["caught"]]
    return markdown(["module", "mutant that survived"], rows or [[NONE, NONE]])


def cases(_: str) -> str:
    """Old behaviours that mutants bring back, by the number of the fault, and the test that fails then."""
    rows = sorted((row for row in _counted("mutants")["mutants"] if row["case"]), key=lambda row: row["case"])
    return markdown(
        ["case", "brought back", "test that fails"],
        [[str(row["case"]), row["what"], f"`{row['by'].removeprefix('tests/')}`" if row["caught"] else NONE] for row in rows],
    )


def _counted(name: str) -> dict:
    return json.loads((ROOT / "results" / "bench" / f"{name}.json").read_text(encoding="utf-8"))


def tradeoff(images: str) -> str:
    """The sweeps of alpha and of y's channels: means over seeds, with deviations if there are several."""
    columns = {"acc_y": "accuracy on y, %", "acc_w": "on w, %", "mse": "error, 1e-3", "i_cpc": "I_CPC, nats"}
    columns |= {"i_ba": "I_BA − h(X), nats"}
    rows = []
    for sweep, symbol in (("alpha", "alpha"), ("y_channels", "channels of y")):
        for setting in sorted({row[sweep] for row in _swept(images) if row["sweep"] == sweep}):
            found = [_at(images, sweep, setting, column) for column in columns]
            named = f"{symbol} = {ENDS.get((sweep, setting), f'{setting:g}')}"
            rows.append([named, *map(_spread, found), str(len(found[0]))])
    return markdown(["setting", *columns.values(), "seeds"], rows)


@cache
def _swept(images: str) -> list[dict]:
    """The committed rows of the sweeps on a data set."""
    epochs, rows = SWEEPS[images][1], _committed(images)
    rows = [row for row in rows if epochs in (None, row["config"]["training"]["epochs"])]
    return tradeoffs.table(rows).to_dict("records")


def _committed(images: str) -> list[dict]:
    return json.loads((ROOT / "results" / "tradeoff" / f"{SWEEPS[images][0]}.json").read_text(encoding="utf-8"))


def lengths(_: str) -> str:
    """The contrast on y and on all of z at `laptop`'s size, by the length of training: means over seeds, with deviations."""
    shown = tradeoffs.lengths(_committed("contrast"), {name: outcomes("laptop", name) for name in tradeoffs.ON})
    head = [
        "epochs",
        "error, 1e-3, contrast on y",
        "contrast on z",
        "accuracy on y, %, contrast on y",
        "on z, contrast on z",
        "seeds",
    ]
    rows = []
    for epochs, of_length in shown.groupby("epochs"):
        cells = [of_length.loc[of_length["on"] == on, metric].tolist() for metric in ("mse", "accuracy") for on in "yz"]
        rows.append([str(epochs), *map(_spread, cells), str(len(cells[1]))])
    return markdown(head, rows)


def contrasts(_: str) -> str:
    """The contrast on y and on all of z, for several alphas, and with views that keep their colours."""
    head = [
        "setting",
        "accuracy on y, %, contrast on y",
        "on z, contrast on z",
        "error, 1e-3, contrast on y",
        "contrast on z",
        "seeds",
    ]
    rows = []
    for name, (_, title) in CONTRASTS.items():
        cells = [_contrasted(name, on, metric) for metric in ("acc_y", "mse") for on in "yz"]
        rows.append([title, *map(_spread, cells), str(len(cells[0]))])
    return markdown(head, rows)


def _contrasted(name: str, on: str, metric: str) -> list[float]:
    """A number of every seed with the contrast on y or z; acc_y is the accuracy on what the contrast sees."""
    file = "demo-digits" if name == "own" else "demo-digits-contrast"
    kept = json.loads((ROOT / "results" / "tradeoff" / f"{file}.json").read_text(encoding="utf-8"))
    wanted = {"profile": CONTRASTS[name][0], "sweep": "y_channels", "y_channels": {"y": 3, "z": 6}[on]}
    return [row[metric] for row in kept if wanted.items() <= row.items()]


def _of_contrast(name: str, metric: str) -> float:
    on, metric, *spread = metric.split()
    return (stdev if spread else mean)(_contrasted(name, on, metric))


def _at(images: str, sweep: str, setting: float | str, column: str) -> list[float]:
    """A column for every seed at a setting; "own" is the setting that both sweeps share."""
    if setting == "own":
        setting = next(row[sweep] for row in _swept(images) if row["sweep"] != sweep)
    rows = [row for row in _swept(images) if row["sweep"] == sweep and row[sweep] == float(setting)]
    return [row[column] for row in rows if pd.notna(row[column])]


def _of_sweep(images: str, metric: str) -> float:
    setting, column, *spread = metric.split()
    found = _at(images, *setting.split("="), column)
    return stdev(found) if spread else mean(found)


def bounds(_: str) -> str:
    """Estimates of the cases in CASES beside the truth, with their errors."""
    rows = []
    for case, name in CASES.items():
        known = [_estimate(case, by) for by in TITLES]
        m, truth = (max(each[key] or 0 for each in known) for key in ("m", "truth"))
        rows.append([f"{name}, m = {m}", f"{truth:.2f}", *(_with_error(case, by) for by in TITLES)])
    return markdown(["case", "truth", *TITLES.values()], rows)


@cache
def _estimates() -> list[dict]:
    return json.loads((ROOT / "results" / "bounds" / "bounds.json").read_text(encoding="utf-8"))["rows"]


def _estimate(case: str, by: str, *conditions: str) -> dict:
    """The rows of a case and an estimator that fit conditions such as m=64 and truth=14; if several m do, the largest.

    `estimate` is the mean over trainings, and `error` the larger of the deviation over them and the largest standard error;
    None without a standard error.
    """
    found = [row for row in _estimates() if (row["case"], row["by"]) == (case, by)]
    for key, wanted in (condition.split("=") for condition in conditions):
        found = [row for row in found if math.isclose(row[key], float(wanted))]
    if not found:
        return dict.fromkeys(("m", "truth", "estimate", "error"))
    largest = max(row["m"] or 0 for row in found)
    found = [row for row in found if (row["m"] or 0) == largest]
    estimates, errors = ([row[key] for row in found if row[key] is not None] for key in ("estimate", "error"))
    errors += [stdev(estimates)] if errors and len(estimates) > 1 else []
    return found[0] | {"estimate": mean(estimates), "error": max(errors, default=None)}


def _with_error(case: str, by: str) -> str:
    found = _estimate(case, by)
    if found["estimate"] is None:
        return NONE
    return f"{found['estimate']:.2f}" + ("" if found["error"] is None else f" ± {found['error']:.2f}")


def factors(profile: str) -> str:
    """What linear probes predict from each part of the code: means over seeds, with deviations if there are several."""
    names = dict.fromkeys(row["factor"] for row in _studies(profile)[0]["rows"])
    parts = [part for part in PARTS if part in {row["part"] for row in _studies(profile)[0]["rows"]}]
    rows = [[name, *(_spread(_scores(profile, f"{name}, {part}")) for part in parts)] for name in names]
    return markdown(["factor", *parts], rows)


@cache
def _studies(profile: str) -> list[dict]:
    """The committed measurements of what y, w and z keep, one per seed."""
    found = committed(f"results/{FOLDERS[profile]}/factors/seed*.json")
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]


def _scores(profile: str, metric: str) -> list[float]:
    return [study["metrics"][metric] for study in _studies(profile)]


def _of_factors(profile: str, metric: str) -> float:
    metric, spread, _ = metric.partition(" sd")
    return (stdev if spread else mean)(_scores(profile, metric))


@cache
def _probed(run: str, dataset: str) -> dict:
    path = ROOT / "results" / "probe" / f"{run}-on-{dataset}" / "probe.json"
    return json.loads(path.read_text(encoding="utf-8"))["accuracies"]


def _of_probe(run: str, metric: str) -> float:
    dataset, part, how = metric.split(maxsplit=2)
    return _probed(run, dataset)[part][how]


def samplers(_: str) -> str:
    """Samples of the released weights by two samplers, with and without guidance, and with w further from its mean."""
    shown = ("spread of w", FD, WITNESS, "precision", "recall")
    head = ["sampler, steps", "guidance", "w scaled by", "spread of w", "FD, lite0", "FD, lite1", "precision", "recall"]
    found = [("DDIM, 50", row["w scaled by"], row) for row in _counted("controls")["samples"]]
    found += [(f"second order, {row['steps']}", "1", row) for row in _counted("sampler")["samples"]]
    rows = []
    for name, scale, row in found:
        guidance = "none" if row["guidance"] == 1 else f"{row['guidance']:g}"
        rows.append([name, guidance, scale, *(number(row[key]) for key in shown)])
    return markdown(head, rows)


def _of_script(name: str, section: str, names: str) -> float:
    """A number of a script's file. In a section of rows, the first names are the values of a row's first columns."""
    found, (*path, last) = _counted(name)[section], names.split("/")
    if isinstance(found, list):
        rows = {tuple(str(value) for value in list(row.values())[: len(path)]): row for row in found}
        return rows[tuple(path)][last]
    for part in path:
        found = found[part]
    return found[last]


def _of_screen(stage: str, name: str) -> float:
    profile, _, metric = name.rpartition("/")
    lines = (ROOT / "results" / "bench" / "screen.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if (row.get("stage"), row["profile"]) == (stage, profile)]
    return rows[-1][metric]


def _nearest(method: str, by: str) -> float:
    with np.load(ROOT / "results" / FOLDERS["laptop"] / "seed0" / f"{method}-gallery.npz") as data:
        return float(data[f"copying_by_{by}"])


READERS = {
    "nearest": _nearest,
    "probe": _of_probe,
    "paper": lambda method, metric: PAPER["cifar10"][method][metric],
    "paper100": lambda method, metric: PAPER["cifar100"][method][metric],
    "ladder": lambda step, metric: _ladder()[step][metric],
    "tradeoff": _of_sweep,
    "contrasts": _of_contrast,
    "bounds": lambda column, metric: _estimate(*metric.split("/"))[column],
    "factors": _of_factors,
    "controls": partial(_of_script, "controls"),
    "sampler": partial(_of_script, "sampler"),
    "screened": _of_screen,
}


def _spread(found: list[float], digits: int | None = None) -> str:
    if not found:
        return NONE
    if digits is None:
        digits = 2 if abs(mean(found)) < 10 else 1 if abs(mean(found)) < 1000 else 0
    return f"{round(mean(found), digits) + 0:.{digits}f}" + (f" ± {stdev(found):.{digits}f}" if len(found) > 1 else "")


FUNCTIONS = (
    *(summary, detail, by_epochs, parts, calibration, transfer, given, work),
    *(faults, inputs, mutants, survivors, cases, tradeoff, contrasts, lengths, bounds, factors, samplers),
)
TABLES = {function.__name__: function for function in FUNCTIONS}


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _judged(profile: str) -> dict[str, Method]:
    """The methods of Table 1 that have an outcome."""
    return {name: method for name, method in TABLE.items() if outcomes(profile, name)}


def _ours(profile: str, method: str, metric: str) -> str:
    """The mean over seeds, with deviation and number where there are several; bold where it is the best of all methods."""
    found = values(profile, method, metric)
    if not found:
        return NONE
    several = len(found) > 1
    text = number(mean(found), stdev(found) if several else math.nan) + f" (n = {len(found)})" * several
    means = [(name, metric, mean(found)) for name in TABLE if (found := values(profile, name, metric))]
    return f"**{text}**" if method in best(pd.DataFrame(means, columns=["method", "metric", "value"]), metric) else text


def _paper(profile: str, method: str, metric: str) -> str:
    return f"{PAPER[FOLDERS[profile].partition('/')[2]].get(method, {}).get(metric, NONE)}"


def _as_written(text: str, found: float) -> str:
    places = len(text.partition(".")[2])
    return f"{round(found, places) + 0:,.{places}f}"  # never -0.00
