"""Explain the origin of a file: a figure, a number in a table, an outcome, or weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hybrid.errors import HybridError
from hybrid.experiments.store import Store, key_of
from hybrid.machine import files
from hybrid.machine.provenance import summary
from hybrid.released import SUMS
from hybrid.training import checkpoint

# Older figures do not contain their origin. They were drawn from these files in the same folder.
DRAWN_FROM = {"samples": "hybrid-gallery.npz", "curves": "hybrid.json", "baselines": "hybrid-gallery.npz"}
KNOWN = "a .png, .pdf, .npz, .json or .jsonl in results/, table1.csv or .md, report.html, a checkpoint.pt or a .safetensors"


def explain(path: Path, cell: tuple[str, str] | None = None) -> str:
    """Describe the origin of a file: command, commit, data, weights, precision, device, and how to make it again.

    `cell`: a method and a metric of a table, such as ("hybrid", "acc"). Raises HybridError if the origin is not known.
    """
    if not path.is_file():
        raise HybridError(f"{path} does not exist: expected {KNOWN}")
    if cell is not None:
        return _cell(path, *cell)
    parts = [f"{path}", *(_in_words(each) for each in origins(path))]
    return "\n\n".join(parts)


def origins(path: Path) -> list[dict]:
    """Return a `summary` for each source of a file. Raises HybridError if the sources are not known."""
    stem, suffix = path.stem, path.suffix
    if stem in ("table1", "claim", "report"):
        return [_outcome(source) for source in _sources(path)]
    if suffix in (".png", ".pdf"):
        found = _embedded(path)
        if found is not None:
            return [found]
        own = DRAWN_FROM.get(
            stem, f"{stem.removesuffix('-nearest')}-gallery.npz" if stem.endswith("-nearest") else f"{stem}.npz"
        )
        if not (path.parent / own).exists():
            raise HybridError(
                f"{path} does not contain its origin, and {own} is not in its folder: draw it again with hybrid reproduce"
            )
        return origins(path.parent / own)
    if suffix == ".npz":
        arrays = files.load_arrays(path, ("key", "provenance"))
        if arrays is None:
            raise HybridError(f"{path} does not contain its origin: expected arrays from hybrid reproduce")
        key, origin = (json.loads(str(arrays[part])) for part in ("key", "provenance"))
        return [summary(origin, key_of(key, origin), path.name)]
    if suffix == ".json":
        return [_outcome(path)]
    if suffix == ".jsonl":
        return [_outcome(path.with_name(f"{stem.rpartition('-')[0]}.json"))]
    if suffix in (".pt", ".previous"):
        if (state := checkpoint.load(path)) is None:
            raise HybridError(f"{path} is not a complete checkpoint: train again with hybrid train")
        about = state["about"]
        origin = state["provenance"] | {name: about.get(name) for name in ("dataset", "sha256", "seed")}
        return [summary(origin, {}, path.name) | {"step": f"{state['step']} of {state['steps']}"}]
    if suffix == ".safetensors":
        from hybrid import released

        known = released.read(path)[1]
        listed = released.sums(path.parent).get(path.name)
        return [summary(known["provenance"], {"training": f"SHA-256 {listed}, in {SUMS}" if listed else None}, path.name)]
    raise HybridError(f"{path} has no known origin: expected {KNOWN}")


def _cell(path: Path, method: str, metric: str) -> str:
    """Describe a number in a table: its value for each seed, and its origin."""
    parts = []
    for source in _sources(path):
        kept = Store(source.parent).read(source.stem) if source.stem == method else None
        if kept is not None and metric in kept["metrics"]:
            parts.append(f"{source}: {metric} = {kept['metrics'][metric]:g}\n\n{_in_words(_outcome(source))}")
    if not parts:
        raise HybridError(f"{path} has no number {metric!r} of {method!r}: give a method and a metric as table1.csv names them")
    return "\n\n".join(parts)


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
    return summary(kept["provenance"], kept["key"], path.name)


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
