"""The command line: how it starts, and how it ends."""

import os
import signal
import subprocess
import sys
import time
import tomllib

import pytest

import hybrid
from hybrid import cli, paths
from hybrid.experiments.methods import METHODS

HEAVY = {"papermill", "torchvision", "matplotlib", "seaborn", "pandas", "sklearn", "scipy", "pytorch_fid", "timm", "IPython"}


def imported(code):
    """The packages that a fresh interpreter has imported once it has run `code`."""
    lines = f"import sys\n{code}\nprint('\\n' + ' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", lines], cwd=paths.REPOSITORY, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["reproduce", "--help"]])
def test_help_imports_no_torch(arguments):
    code = f"from hybrid.cli import main\ntry:\n    main({arguments})\nexcept SystemExit:\n    pass"
    assert not imported(code) & {"torch", "numpy", *HEAVY}


def test_what_is_heavy_is_imported_where_it_is_used():
    assert "torch" not in imported("import hybrid")
    found = imported("import hybrid\nhybrid.Experiment, hybrid.load, hybrid.pretrained\nimport hybrid.workflows.screen")
    assert "torch" in found
    assert not found & HEAVY


def test_public_names_are_there():
    assert all(getattr(hybrid, name) for name in hybrid.__all__)
    with pytest.raises(AttributeError, match="'nothing'"):
        hybrid.nothing  # noqa: B018


def test_help_names_every_method(capsys):
    with pytest.raises(SystemExit):
        cli.main(["reproduce", "--help"])
    assert ", ".join(METHODS) in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hybrid 0.")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_one_line(home, number, status):
    """And the same command goes on, from the checkpoint that it left."""
    profile = "smoke,hybrid.representation.training.epochs=10000"
    command = [sys.executable, "-m", "hybrid.cli", "train", "--profile", profile, "--methods", "hybrid"]
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job would hand on that it is ignored
    running = subprocess.Popen(command, cwd=paths.REPOSITORY, stderr=subprocess.PIPE, text=True, env=os.environ)
    signal.signal(signal.SIGINT, before)
    history = paths.runs(profile, "digits") / "hybrid/seed0/representation/history.jsonl"
    while not history.exists() and running.poll() is None:
        time.sleep(0.1)
    running.send_signal(number)
    error = running.communicate(timeout=60)[1]
    assert running.returncode == status
    assert error.count("\n") == 1 and number.name in error and "the same command goes on" in error and str(home) in error


def test_a_signal_that_the_shell_has_it_ignore_is_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with cli.signals():
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(cli.Interrupted, match="SIGTERM"):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
    finally:
        signal.signal(signal.SIGINT, before)


def test_all_folders_of_the_package_are_declared():
    """setuptools warns of one that is not, at every install."""
    declared = tomllib.loads((paths.REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    package = paths.REPOSITORY / "hybrid"
    folders = {
        path.parent.relative_to(package.parent) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert {str(folder).replace(os.sep, ".") for folder in folders} == set(declared)
