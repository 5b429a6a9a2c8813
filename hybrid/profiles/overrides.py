"""Profiles: named, frozen and complete sets of values for all settings of a run.

`profile("laptop")` returns one; `profile("laptop,hybrid.representation.training.epochs=6")` returns it with a field changed.
The whole text is the profile's name everywhere (command line, make, papermill, folder names), so the results of a changed
profile never mix with those of the original one.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import Literal, get_args, get_origin, get_type_hints

from hybrid.errors import HybridError
from hybrid.profiles import demo, gpu, laptop, paper, smoke
from hybrid.profiles.checked import ranges
from hybrid.profiles.schema import Profile

PROFILES = {module.PROFILE.name: module.PROFILE for module in (smoke, demo, laptop, gpu, paper)}


def profile(spec: str) -> Profile:
    """Return the profile for `spec`: a name, followed by any number of `,path.to.field=value`.

    Raises HybridError for an unknown profile, field or value, with a list of the valid ones.
    """
    name, *changes = spec.split(",")
    if name not in PROFILES:
        raise HybridError(f"profile {name!r} is unknown: choose one of {', '.join(PROFILES)}")
    values: dict = {}  # fields that must agree change together
    for change in changes:
        path, separator, text = change.partition("=")
        if not separator:
            raise HybridError(f"{change!r} changes nothing in profile {name!r}: write it as field=value")
        if [each.partition("=")[0] for each in changes].count(path) > 1:
            raise HybridError(f"{path!r} is given twice in {spec!r}: give it once")
        _read(PROFILES[name], path.split("."), text, path, values)
    if len(spec.encode()) > 255:
        raise HybridError(
            f"profile {spec!r} is too long for a folder's name: change fewer fields, or add a profile to {__name__}"
        )
    return replace(_changed(PROFILES[name], values), name=spec)


def _read(node, path: list[str], text: str, whole: str, values: dict) -> None:
    """Put the value of one change of `node` into `values`, which are nested like the node."""
    names = [f.name for f in fields(node) if f.name not in ("name", "dataset")]
    if path[0] not in names:
        raise HybridError(f"{whole!r} is not a field of a profile: at {path[0]!r} choose one of {', '.join(names)}")
    old = getattr(node, path[0])
    if is_dataclass(old):
        if len(path) == 1:
            raise HybridError(f"{whole!r} is a group, not a value: go on with one of {', '.join(f.name for f in fields(old))}")
        _read(old, path[1:], text, whole, values.setdefault(path[0], {}))
    elif len(path) > 1:
        raise HybridError(f"{whole!r} goes on after {path[0]!r}, which is a value")
    else:
        range_ = ranges(type(node))[path[0]][2]  # type: ignore[arg-type]
        may_be_empty = range_ is not None and range_.fewest == 0
        values[path[0]] = _parsed(text, get_type_hints(type(node))[path[0]], old, whole, may_be_empty)


def _changed(node, values: dict, above: str = ""):
    """Return the node with these values. `above`: the path to it, with a dot at its end."""
    new = {
        name: _changed(getattr(node, name), value, f"{above}{name}.") if isinstance(value, dict) else value
        for name, value in values.items()
    }
    try:
        return replace(node, **new)
    except HybridError as error:  # names the field of this node
        raise HybridError(f"{above}{error}") from None


def _parsed(text: str, kind, old, whole: str, may_be_empty: bool):
    optional = type(None) in get_args(kind)
    if optional:
        if text.lower() == "none":
            return None
        kind = next(part for part in get_args(kind) if part is not type(None))
    if may_be_empty and text.lower() == "none":
        return ()
    if get_origin(kind) is Literal:
        return text  # the dataclass checks it
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if get_origin(kind) is tuple:
            element, *others = get_args(kind)
            parts = re.split(r"(?<![eE])-", text) if text else []  # 1e-3 is one number
            values = tuple(element(part) for part in parts)
            if others != [...] and len(values) != len(old):
                raise ValueError
            return values
        return kind(text)
    except (KeyError, ValueError):
        joined = get_origin(kind) is tuple
        count = "" if not joined or get_args(kind)[-1] is ... else f"{len(old)} "
        expected = (f"{count}numbers joined by '-'" if joined else kind.__name__) + " or none" * (optional or may_be_empty)
        example = "" if old is None else f", as in {whole}={'-'.join(map(str, old)) if joined else old}"
        raise HybridError(f"{whole}={text!r}: expected {expected}{example}") from None
