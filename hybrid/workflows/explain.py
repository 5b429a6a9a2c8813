"""Explain the origin of a file: a figure, a number in a table, an outcome, or weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hybrid import released
from hybrid.errors import HybridError
from hybrid.experiments import table
from hybrid.experiments.methods import METHODS, TABLE, Method
from hybrid.experiments.store import Store, key_of
from hybrid.machine import files
from hybrid.machine.provenance import again, summary
from hybrid.training import checkpoint
from hybrid.training.history import read_history
from hybrid.workflows import embed

KNOWN = (
    "a .png, .pdf, .npz, .parquet, .json or .jsonl of results/ or of a command, table1.csv or .md, report.html, a "
    "checkpoint.pt or a .safetensors"
)


def explain(path: Path, cell: tuple[str, str] | None = None) -> str:
    """Describe the origin of a file: command, commit, data, weights, precision, device, and how to make it again.

    `cell`: a method and a metric of a table, such as ("hybrid", "acc"), or their headings, such as ("Hybrid", "accuracy").
    Raises HybridError if the origin is not known. No file is changed.
    """
    if not path.is_file():
        raise HybridError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}: expected {KNOWN}")
    with files.only_read():
        if cell is not None:
            return _cell(path, *cell)
        parts = [f"{path}", *(_in_words(each) for each in origins(path))]
    return "\n\n".join(parts)


def origins(path: Path) -> list[dict]:
    """Return a `summary` for each source of a file. Raises HybridError if the sources are not known."""
    stem, suffix = path.stem, path.suffix
    if stem in ("table1", "claim", "report") and path.with_name("table1.json").exists():
        return [_outcome(source) for source in _sources(path)]
    if suffix in (".png", ".pdf"):
        if (found := _embedded(path)) is not None:
            return [found]
        if not path.with_suffix(".json").exists():
            raise HybridError(f"{path} does not contain its origin, and no {stem}.json is in its folder: draw it again")
        return origins(path.with_suffix(".json"))
    if suffix == ".npz":
        arrays = files.load_arrays(path, only=("origin", "key", "provenance"))
        if arrays is None:
            raise HybridError(f"{path} is damaged: make it again")
        if "origin" in arrays:  # of `hybrid sample` and `hybrid embed`
            return [_parsed(path, str(arrays["origin"]))]
        if not {"key", "provenance"} <= arrays.keys():
            raise HybridError(f"{path} does not contain its origin: expected arrays of reproduce, sample or embed")
        key, origin = (json.loads(str(arrays[part])) for part in ("key", "provenance"))
        return [summary(origin, key_of(key, origin), path.name)]
    if suffix == ".parquet" and (origin := embed.origin_in(path)) is not None:
        return [_parsed(path, origin)]
    if path.name == "expected.json":
        raise HybridError(
            f"{path} lists outcomes of several runs, with the device and the commit of each; hybrid expect adds to it"
        )
    if suffix == ".json":
        return _measurements(path) or [_outcome(path)]
    if suffix == ".jsonl" and path.with_name("checkpoint.pt").exists():  # a history in a stage's folder
        return origins(path.with_name("checkpoint.pt"))
    if suffix == ".jsonl":
        if screened := _measurements(path):  # lines of `hybrid screen`
            return screened
        outcome = path.with_name(f"{stem.rpartition('-')[0] or stem}.json")
        if not outcome.exists():
            raise HybridError(f"the origin of {path} is in {outcome.name} beside it, which is missing: expected {KNOWN}")
        return [_outcome(outcome)]
    if suffix in (".pt", ".previous"):
        if (state := checkpoint.load(path)) is None:
            raise HybridError(f"{path} is not a complete checkpoint: train again with hybrid train")
        about = state["about"]
        origin = state["provenance"] | {name: about.get(name) for name in ("dataset", "sha256", "seed")}
        return [summary(origin, {}, path.name) | {"step": f"{state['step']} of {state['steps']}"}]
    if suffix == ".safetensors":
        known = released.read(path)[1]
        listed = released.sums(path.parent).get(path.name)
        facts = summary(known["provenance"], {}, path.name)
        weights = f"SHA-256 {listed}, in {released.SUMS}" if listed else None
        command = again(known["provenance"], path.name, "release --out weights")
        return [facts | {"weights": weights, "again": command}]
    raise HybridError(f"{path} has no known origin: expected {KNOWN}")


def _parsed(path: Path, text: str) -> dict:
    """Return the origin that a command wrote as JSON."""
    try:
        origin = json.loads(text)
        files.demand(origin, {"command": str})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise HybridError(f"{path} does not contain its origin: expected arrays of reproduce, sample or embed") from None
    return origin


def _cell(path: Path, called: str, metric: str) -> str:
    """Describe a number in a table: its value for each seed, and its origin."""
    method = _method(called)
    if path.stem not in ("table1", "claim", "report"):
        raise HybridError(f"{path} is not a table: leave out --cell, or give table1.md")
    if method.name not in TABLE:
        raise HybridError(f"the table has no row of {method.title}: give seed0/{method.name}.json instead of a cell")
    kept = {source: Store(source.parent).read(source.stem) for source in _sources(path) if source.stem == method.name}
    measured = list(dict.fromkeys(name for each in kept.values() if each is not None for name in each["metrics"]))
    name = next((known for known in (*measured, *table.HEADINGS) if _heading(metric) in _headings(known)), metric)
    if name not in measured:
        can = name in method.metrics or (table.is_of_samples(name) and "fid" in method.metrics)
        why = f"{name} of {method.title} was not measured" if can else f"{path} has no number {metric!r} of {method.title}"
        raise HybridError(f"{why}: choose one of {', '.join(measured)}" if measured else f"{why}, and nothing else of it was")
    return "\n\n".join(
        f"{source}: {name} = {each['metrics'][name]:g}\n\n{_in_words(_outcome(source))}"
        for source, each in kept.items()
        if each is not None and name in each["metrics"]
    )


def _method(called: str) -> Method:
    """Return the method of this name or title, in any case. Raises HybridError if there is none."""
    for each in METHODS.values():
        if called.casefold() in (each.name.casefold(), each.title.casefold()):
            return each
    raise HybridError(f"method {called!r} is unknown: choose one of {', '.join(METHODS)}")


def _heading(text: str) -> str:
    """Return a metric's heading in lower case, without its unit and what stands in brackets."""
    return re.sub(r" \(.*\)$|, (%|1e-3)$", "", text.casefold())


def _headings(metric: str) -> set[str]:
    """Return what tables call a metric."""
    words = {"acc": ("accuracy",), "mse": ("error",), "fd_efficientnet_lite0": ("fd",)}.get(metric, ())
    network = re.fullmatch(r"(fd|kd)_efficientnet_(lite\d)", metric)
    short = {f"{network[1]}, {network[2]}"} if network else set()
    return {metric.casefold(), _heading(table.heading(metric)), *words, *short}


def _sources(path: Path) -> list[Path]:
    """Return the outcomes that a table is computed from."""
    listed = files.read_json(path.parent / "table1.json")
    names = listed.get("computed from") if isinstance(listed, dict) else None
    if not isinstance(names, list):
        raise HybridError(
            f"{path.parent / 'table1.json'} does not list the sources of {path.name}: make it again with hybrid reproduce"
        )
    return [path.parent / str(name) for name in names]


def _outcome(path: Path) -> dict:
    kept = Store(path.parent).read(path.stem)
    if kept is None:
        raise HybridError(f"{path} is not a complete outcome: make it again with hybrid reproduce")
    # A saved outcome is only read until its method is trained again.
    return summary(kept["provenance"], kept["key"], path.name) | {
        "again": again(kept["provenance"], path.name, "train", "evaluate")
    }


def _measurements(path: Path) -> list[dict]:
    """Return the origins in a .json or .jsonl of `hybrid bounds`, `tradeoff`, `factors`, `bench` or `screen`; of others none.

    Each command is there once, with its last commit.
    """
    found: dict[str, dict] = {}

    def search(value) -> None:
        if isinstance(value, dict) and {"command", "commit"} <= value.keys():
            found[value["command"]] = value
        elif isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                search(each)

    kept = read_history(path) if path.suffix == ".jsonl" else files.read_json(path)
    if isinstance(kept, dict) and isinstance(kept.get("key"), dict) and "evaluation" in kept["key"]:
        return []  # a method's
    search(kept)
    return [summary(origin, {}, path.name) | {"again": _repeatable(command)} for command, origin in found.items()]


def _repeatable(command: str) -> str | None:
    """Return a recorded command as a user would give it; None if it is no command of the package."""
    command = re.sub(r"^cli\.py ", "hybrid ", command)
    return command if command.startswith("hybrid ") else None


def _embedded(path: Path) -> dict | None:
    """Return the origin that `figures.save_figure` wrote into a figure, or None."""
    from PIL import Image

    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                text = image.info.get("hybrid")
        else:
            found = re.search(rb"/Subject \((.*?)(?<!\\)\)", path.read_bytes(), re.DOTALL)
            text = re.sub(r"\\(.)", r"\1", found[1].decode("latin-1")) if found else None
        return None if text is None else json.loads(text)
    except (OSError, ValueError, SyntaxError) as error:
        raise HybridError(f"{path} is not a readable figure ({error}): draw it again with hybrid reproduce") from error


def _in_words(origin: dict) -> str:
    width = max(len(name) for name in origin)
    return "\n".join(f"  {name:{width}}  {value}" for name, value in origin.items() if value is not None)
