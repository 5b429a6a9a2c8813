"""Exact installs: the lock file fits pyproject.toml, and the Dockerfile's steps can be taken. No container engine is needed."""

import fnmatch
import os
import re
import shlex
import subprocess
import tomllib

import pytest
from checkout import committed
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hybrid import paths

ROOT = paths.REPOSITORY
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked():
    """The lock's requirements, each with its hashes; a package may have several, for several machines."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line.split("--hash=") for line in text.splitlines() if line and not line.startswith("#")]
    return [(Requirement(first), [each.strip() for each in rest]) for first, *rest in lines]


def wanted(requirements):
    """Of these requirements and those of the extras that they name."""
    for text in requirements:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            yield from (each for extra in requirement.extras for each in wanted(PROJECT["optional-dependencies"][extra]))
        else:
            yield requirement


def steps():
    """The Dockerfile's lines: (instruction, the rest)."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line and not line.startswith("#")]


def ignored(path):
    """Whether .dockerignore leaves this path, or a folder above it, out."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    parts = path.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]

    def fits(some, pattern):
        if pattern.startswith("**/"):
            return fnmatch.fnmatch(some.rsplit("/", 1)[-1], pattern[3:])
        return some.count("/") == pattern.count("/") and fnmatch.fnmatch(some, pattern)

    matching = [pattern for pattern in patterns if any(fits(some, pattern.removeprefix("!")) for some in above)]
    return bool(matching) and not matching[-1].startswith("!")


def dry(*arguments):
    """What make would run, whatever variables the make that runs the tests was given."""
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "LOCKED", "PROFILE", "DATASET", "SEED", "VENV", "PYTHON")
    own = {name: value for name, value in os.environ.items() if name not in outer}
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True).stdout


def test_every_package_is_locked_by_version_and_hash():
    found = locked()
    assert len(found) > 100
    for requirement, hashes in found:
        assert re.fullmatch(r"==[^*]+", str(requirement.specifier)), requirement
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), requirement


def test_the_lock_fits_the_project():
    here = {canonicalize_name(r.name): r for r, _ in locked() if r.marker is None or r.marker.evaluate(default_environment())}
    for requirement in wanted([*PROJECT["dependencies"], f"{PROJECT['name']}[test]"]):
        version = str(here[canonicalize_name(requirement.name)].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement}, locked {version}: run make lock"


def test_what_the_image_copies_is_there_and_nothing_that_is_large():
    sources = [source for step, rest in steps() if step == "COPY" for source in shlex.split(rest)[:-1]]
    assert {"requirements.lock", "Makefile", "pyproject.toml", "hybrid", "notebooks", "results"} <= set(sources)
    tracked = [path.relative_to(ROOT).as_posix() for path in committed("**/*")]
    for source in sources:
        assert (ROOT / source).exists() and not ignored(source), source
        assert not [path for path in tracked if path.startswith(f"{source}/") and ignored(path)]
    for path in (".git", ".venv/bin/python", "runs/demo/x.pt", "data/cifar10.npz", "hybrid/__pycache__/cli.pyc"):
        assert ignored(path), path
    assert ignored("results/demo/digits/report.html") and not ignored("results/demo/digits/table1.csv")
    # What the package's build reads, by pyproject.toml.
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= set(sources)


def test_what_the_image_runs_is_there():
    runs, (last,) = [rest for step, rest in steps() if step == "RUN"], [rest for step, rest in steps() if step == "CMD"]
    assert last == '["make", "reproduce"]'
    assert any("--require-hashes --requirement requirements.lock" in run for run in runs)
    install = next(shlex.split(run) for run in runs if run.startswith("make"))
    for command in (install, ["make", "reproduce"]):
        told = dry(*command[1:], "VENV=not-there")
        assert "not-there/bin/python -m pip install" in told
        assert ("--require-hashes --requirement requirements.lock" in told) == (command == install)
    assert "hybrid reproduce --profile 'demo'" in told


@pytest.mark.parametrize("locked", ["", "1"])
def test_packages_come_from_the_lock_where_it_is_asked_for(locked):
    told = dry("install", "VENV=not-there", f"LOCKED={locked}")
    last = next(line for line in told.splitlines() if line.endswith("--editable ."))
    assert ("--no-deps" in last) == bool(locked)


def test_the_lock_is_installed_over_a_plain_installation(tmp_path):
    """`make install LOCKED=1` did nothing after `make install`, and the packages kept their versions."""

    def told(*variables):
        return dry("install", f"VENV={tmp_path}", *variables)

    for mark in (".made", ".installed"):
        (tmp_path / mark).touch()
    assert "pip" not in told()
    assert "--require-hashes --requirement requirements.lock" in told("LOCKED=1") and "--no-deps" in told("LOCKED=1")
    for mark in (".locked", ".installed"):
        (tmp_path / mark).touch()
    assert "pip" not in told("LOCKED=1") + told()


def test_an_installation_of_other_versions_takes_the_locks_mark_away(tmp_path):
    """`make install LOCKED=1` did nothing after a plain installation that came after a locked one."""

    def told(target, *variables):
        return dry("--always-make", target, f"VENV={tmp_path}", *variables).splitlines()

    for target in (".installed", ".installed-test", ".installed-bench", ".installed-docs"):
        assert any(f"rm -f {tmp_path}/.locked" in line for line in told(tmp_path / target)), target
    for target in (".installed", ".installed-test"):
        lines = [line for line in told(tmp_path / target, "LOCKED=1") if "--editable" in line]
        assert lines and all("--no-deps --no-build-isolation" in line and "rm -f" not in line for line in lines)


def test_versions_that_are_written_twice_are_the_same():
    import hybrid

    here = {canonicalize_name(requirement.name): requirement for requirement, _ in locked()}
    assert f"rev: v{str(here['ruff'].specifier).removeprefix('==')}\n" in (ROOT / ".pre-commit-config.yaml").read_text()
    assert f"version: {hybrid.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"hybrid_mi-{hybrid.__version__}-py3" in (ROOT / "docs" / "how-to" / "install.md").read_text()
