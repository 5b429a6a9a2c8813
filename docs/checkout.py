"""Which files came with the repository: a user's own results in results/ are none of the documentation's and of the tests'."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hybrid.machine.provenance import git
from hybrid.paths import REPOSITORY


def committed(*patterns: str) -> list[Path]:
    """Return the committed files that match, sorted; without git, or where this is no checkout, all files that match.

    A git that does not answer for a checkout is an error: its readers would look at nothing.
    """
    listed = git("ls-files", *patterns)
    if listed is not None:
        return sorted(REPOSITORY / line for line in listed.splitlines() if (REPOSITORY / line).is_file())
    assert shutil.which("git") is None or not (REPOSITORY / ".git").exists(), "git ls-files fails in this checkout"
    return sorted({path for pattern in patterns for path in REPOSITORY.glob(pattern) if path.is_file()})


def is_unchanged(folder: str | Path) -> bool:
    """Return whether no committed file in a folder has changed, as far as git knows."""
    changed = git("status", "--porcelain", str(folder))
    return changed is None or not re.search(r"^.?[MD]", changed, re.MULTILINE)
