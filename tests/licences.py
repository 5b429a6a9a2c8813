"""The licences of what is installed with the package: `make audit`, or python tests/licences.py.

Every distribution that `pip install hybrid-mi` brings, however deep, with the licence that it states. Status 1 where one states
none, or one that is not known here as free to use.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
# Families of licences, by what their names hold; the first that fits counts.
FAMILIES = {
    "MPL": r"MPL|Mozilla",
    "LGPL": r"LGPL|Lesser",
    "GPL": r"\bGPL|GNU General",
    "Apache": r"Apache",
    "BSD": r"BSD",
    "MIT": r"MIT|Expat",
    "PSF": r"PSF|Python Software",
    "HPND": r"HPND|Historical",
    "ISC": r"ISC",
    "NVIDIA": r"NVIDIA",
    "others that are free": r"Unlicense|CC0|Public Domain|Zlib|0BSD|ZPL",
}


def installed() -> dict[str, Distribution]:
    """The distributions that the package needs here, by name. Those that are not installed are left out."""
    found, seen = {}, set()
    waiting = [("", line) for line in tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]]
    while waiting:
        extra, line = waiting.pop()
        need = Requirement(line)
        name = re.sub(r"[-_.]+", "-", need.name).lower()
        asked = name, frozenset(need.extras)  # a package that is there may be asked for again, with extras
        if asked in seen or (need.marker is not None and not need.marker.evaluate({"extra": extra})):
            continue
        seen.add(asked)
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += [(wanted, line) for wanted in need.extras or {""} for line in found[name].requires or ()]
    return dict(sorted(found.items()))


def licence(one: Distribution) -> str:
    """What a distribution says of its licence, in a line."""
    meta = one.metadata
    classified = [line.rsplit(" :: ", 1)[1] for line in meta.get_all("Classifier", []) if line.startswith("License ::")]
    stated = meta.get("License-Expression") or "; ".join(classified) or meta.get("License") or ""
    if stated in ("", "UNKNOWN"):  # its file then, where it brings one
        texts = [file.read_text() for file in one.files or () if file.name.startswith(("LICENSE", "LICENCE", "COPYING"))]
        stated = texts[0] if texts else ""
    return " ".join(stated.split())[:80]


def family(name: str, text: str) -> str:
    """Which of FAMILIES a distribution's licence is of; empty for none. Some of NVIDIA's own packages do not state theirs."""
    text = "NVIDIA" if name.startswith(("nvidia-", "cuda-")) else text
    return next((family for family, pattern in FAMILIES.items() if re.search(pattern, text)), "")


def main() -> int:
    by, unknown = defaultdict(list), []
    for name, one in installed().items():
        text = licence(one)
        print(f"{name:32} {one.version:18} {text or 'states none'}")
        by[family(name, text) or "unknown"].append(name)
        unknown += [name] * (not family(name, text))
    print(
        f"\n{sum(map(len, by.values()))} distributions: "
        + ", ".join(f"{len(names)} {kind}" for kind, names in sorted(by.items()))
    )
    if unknown:
        print(f"look at these yourself: {', '.join(unknown)}")
    return bool(unknown)


if __name__ == "__main__":
    sys.exit(main())
