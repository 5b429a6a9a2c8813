"""What code a number depends on, so that it is told when that, or the precision, is another now.

A module's fingerprint is of its syntax: comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from hybrid.errors import HybridError
from hybrid.machine import precision

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]
# What numbers come of. What reads and writes files, and what the values of a profile say already, is not among them.
COUNTING = ("data", "judging", "models", "model", "objectives", "training")
OTHERS = ("data.identity", "data.digits", "training.checkpoint", "training.history", "training.progress")

strict: ContextVar[bool] = ContextVar("strict", default=False)  # whether a difference is refused
_told: set[str] = set()  # what has been said once, and need not be again


@cache
def modules(*roots: str) -> dict[str, str]:
    """Fingerprints of modules, such as hybrid.models.nvae, and of those of this package that they import and that count."""
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
    """Eight hexadecimal digits of a module's syntax; None where there is no such module."""
    tree = _tree(name)
    return None if tree is None else hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:8]


def difference(origin: dict) -> str:
    """What of a note, see `provenance`, is known not to be as it is here: code or precision, in words, else empty."""
    recorded, words = origin.get("modules"), []
    recorded = recorded if isinstance(recorded, dict) else {}
    if changed := [name for name, kept in recorded.items() if kept != fingerprint(f"hybrid.{name}")]:
        words.append(f"other code ({', '.join(changed)} changed since commit {str(origin.get('commit'))[:12]})")
    here = precision.name(precision.best_device())
    if origin.get("precision") not in (None, here):
        words.append(f"another precision ({origin['precision']}, here it is {here})")
    return " and ".join(words)


def tell_difference(what: str, origin: dict) -> None:
    """Say once that something kept comes of other code or precision. Raises HybridError for that where `strict` is set."""
    if words := difference(origin):
        tell_once(f"{what} comes of {words}", "it is used; --strict refuses it, and moving it away has it made anew")


def tell_once(fact: str, consequence: str) -> None:
    """Log a line, once in a process. Raises HybridError instead where `strict` is set."""
    if strict.get():
        raise HybridError(f"{fact}: move it away to have it made anew, or go without --strict")
    note(f"{fact}: {consequence}")


@contextmanager
def silent() -> Iterator[None]:
    """Log nothing meanwhile."""
    package = logging.getLogger("hybrid")
    before = package.level
    package.setLevel(logging.ERROR)
    try:
        yield
    finally:
        package.setLevel(before)


def note(fact: str) -> None:
    """Log a line, once in a process."""
    if fact not in _told:
        _told.add(fact)
        log.warning("%s", fact)


def _counts(name: str) -> bool:
    within = name.removeprefix("hybrid.")
    return name.startswith("hybrid.") and within.split(".")[0] in COUNTING and within not in OTHERS


@cache
def _tree(name: str) -> ast.Module | None:
    """A module's syntax without docstrings; None where there is no such module, as of a package or a name in one."""
    path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
    if not path.is_file():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree
