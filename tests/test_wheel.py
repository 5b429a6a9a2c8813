"""The wheel is whole: it works from any folder, without this repository."""

import os
import shutil
import subprocess
import sys

import pytest

from hybrid import paths

LINES = """
import hybrid, hybrid.workflows.report, hybrid.workflows.release
from jinja2 import PackageLoader
assert "{site}" in hybrid.__file__, hybrid.__file__
assert hybrid.released.names()
for name in hybrid.released.names():
    assert hybrid.pretrained(name).sample(2, steps=2).shape == (2, 3, 32, 32)
assert {{"report.html", "card.md"}} <= set(PackageLoader("hybrid.workflows", "").list_templates())
assert "card.md" in PackageLoader("hybrid.bridges", "").list_templates()
assert (__import__("pathlib").Path(hybrid.__file__).parent / "py.typed").exists()
"""


@pytest.mark.slow
def test_the_wheel_works_from_any_folder(tmp_path):
    site, source, python = tmp_path / "site", tmp_path / "source", [sys.executable, "-m"]
    shutil.copytree(paths.REPOSITORY / "hybrid", source / "hybrid")  # building leaves files beside what it builds
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(paths.REPOSITORY / name, source)
    build = [*python, "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*python, "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "HYBRID_HOME": str(tmp_path)}
    run = {"cwd": tmp_path, "env": environment, "check": True, "text": True, "capture_output": True}
    subprocess.run([sys.executable, "-c", LINES.format(site=site)], **run)
    assert subprocess.run([*python, "hybrid.cli", "--version"], **run).stdout.startswith("hybrid ")
