"""Fingerprints of the code that a number depends on, to report when the code or the precision has changed.

A module's fingerprint depends on its syntax only, not on comments, docstrings and layout.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from hybrid.errors import HybridError, tell
from hybrid.machine import precision

PACKAGE = Path(__file__).resolve().parents[1]
# The modules that numbers depend on. Modules that only read and write files do not count.
COUNTING = ("data", "judging", "models", "model", "objectives", "training")
OTHERS = ("data.identity", "data.digits", "training.checkpoint", "training.history", "training.progress")
COMPUTING = ("machine.compilation", "machine.gradients", "machine.precision")  # these count, unlike the rest of machine
MOST_NAMED = 2  # changed modules in a message

strict: ContextVar[bool] = ContextVar("strict", default=False)  # whether to refuse a difference


@cache
def modules(*roots: str) -> dict[str, str]:
    """Return the fingerprints of modules, such as hybrid.models.nvae, and of the modules that they import and that count."""
    found, waiting = {}, list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found and _counts(name) and (tree := _tree(name)) is not None:
            found[name] = fingerprint(name)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    waiting += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return {name.removeprefix("hybrid."): found[name] for name in sorted(found)}


@cache
def fingerprint(name: str) -> str | None:
    """Return eight hexadecimal digits that identify a module's syntax, or None if there is no such module."""
    tree = _tree(name)
    return None if tree is None else hashlib.sha256(_dump(tree).encode()).hexdigest()[:8]


def _dump(tree: ast.Module) -> str:
    """Return the syntax as text, for the same code the same in Python 3.11, 3.12 and 3.13."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):  # 3.12 adds an empty string to some
            node.values = [value for value in node.values if not (isinstance(value, ast.Constant) and value.value == "")]
    if sys.version_info >= (3, 13):
        text = ast.dump(tree, show_empty=True)
    else:
        text = ast.dump(tree)
    return text.replace(", type_params=[]", "")  # of 3.12 and later


def remember() -> None:
    """Read all sources that count. Fingerprints are then of the code as it is now, even if somebody changes it later."""
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(["hybrid", *path.relative_to(PACKAGE).with_suffix("").parts])
        if _counts(name):
            _source(name)


def difference(origin: dict) -> str:
    """Say which of code and precision differ between a `provenance` and this process. Empty if no difference is known.

    The code is that of the result and of the trainings that it comes from.
    """
    words = []
    changed: dict[str, list[str]] = {}  # commit -> modules that have changed since
    trained = origin.get("trained") or {}  # the origin of each stage, or of the only one
    for each in [value for value in (origin, trained, *trained.values()) if isinstance(value, dict)]:
        known = {name for names in changed.values() for name in names}
        recorded = each.get("modules") or {}
        if new := [name for name, kept in recorded.items() if kept != fingerprint(f"hybrid.{name}") and name not in known]:
            changed.setdefault(str(each.get("commit"))[:12], []).extend(new)
    if changed:
        since = [f"{_named(names)} changed since commit {commit}" for commit, names in changed.items()]
        words.append(f"other code ({'; '.join(since)})")
    here = precision.name(precision.best_device())
    if origin.get("precision") not in (None, here):
        words.append(f"another precision ({origin['precision']}, here it is {here})")
    return " and ".join(words)


def _named(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def tell_difference(what: str, origin: dict) -> None:
    """Log once that a saved result comes from other code or precision. If `strict` is set, raise HybridError instead."""
    if words := difference(origin):
        tell_or_refuse(
            f"{what} comes from {words}", "it is used; --strict refuses it, and if you move it away it is made again"
        )


def tell_or_refuse(fact: str, consequence: str) -> None:
    """Log a line, once per process. If `strict` is set, raise HybridError instead."""
    if strict.get():
        raise HybridError(f"{fact}: move it away so that it is made again, or omit --strict")
    tell(f"{fact}: {consequence}")


def _counts(name: str) -> bool:
    within = name.removeprefix("hybrid.")
    counts = within.split(".")[0] in COUNTING and within not in OTHERS
    return name.startswith("hybrid.") and (counts or within in COMPUTING)


@cache
def _source(name: str) -> str | None:
    path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
    return path.read_text(encoding="utf-8") if path.is_file() else None


@cache
def _tree(name: str) -> ast.Module | None:
    """Return a module's syntax without docstrings, or None for a package or another name that is not a module."""
    if (source := _source(name)) is None:
        return None
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree
