"""The command line: how it starts, and how it ends."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from functools import partial, wraps

import numpy as np
import pytest
from PIL import Image

import hybrid
from hybrid import cli, paths
from hybrid.data.datasets import NAMED
from hybrid.experiments.methods import METHODS
from hybrid.model import HybridModel
from hybrid.workflows import embed

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
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ", ".join(METHODS) in shown, "name the new method in the help of `reproduce` in hybrid/commands/running.py"


def test_help_names_every_data_set():
    """Wherever it names one, in the registry's order."""
    lines = [
        line for command in cli.COMMANDS for line in command.__doc__.splitlines() if re.search(r": digits,|set: digits", line)
    ]
    assert len(lines) >= 4
    for line in lines:
        assert ", ".join(NAMED) in line, "name the new data set in the help of hybrid/commands/"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--profile", "smoke", "--time-limit", "nan"], "time_limit = nan: give seconds, 0 or more"),
        (["reproduce", "--profile", "smoke", "--time-limit", "-1"], "time_limit = -1.0: give seconds"),
        (["sample", "--run", "cifar10", "--out", "x.png", "--seed", "-1"], "seed -1 is not usable"),
        (["sample", "--run", "cifar10", "--out", "x.png", "--eta", "nan"], "eta = nan: give a value from 0"),
        (["sample", "--run", "cifar10", "--out", "x.png", "--order", "2", "--eta", "1"], "order = 2 with eta = 1: give 1"),
        (["sample", "--run", "cifar10", "--out", "folder.png"], "out = 'folder.png' is a folder: give the name of a file"),
        (["embed", "--run", "cifar10", "--images", "digits", "--out", "folder.npz"], "is a folder"),
        (["probe", "--run", "cifar10", "--dataset", "digits", "--seed", "-1"], "seed -1 is not usable"),
        (["probe", "--run", "cifar10", "--dataset", "digits", "--out", "file"], "out = 'file' is a file: expected a folder"),
        (["reproduce", "--profile", "smoke", "--jobs", "0", "--dry-run"], "jobs = 0: give the number of methods"),
        (["sample", "--run", "x.safetensors", "--out", "x.png"], "x.safetensors does not exist: give the path of"),
        (["explain", "nowhere.png"], "nowhere.png does not exist"),
    ],
)
def test_values_that_make_no_sense_end_with_one_line(home, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(home)
    (home / "folder.png").mkdir(), (home / "folder.npz").mkdir(), (home / "file").touch()
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_home_that_is_no_folder_ends_with_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path / "file"))
    assert cli.main(["train", "--profile", "smoke"]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hybrid: ")]
    assert len(error) == 1 and str(tmp_path / "file") in error[0] and "or set HYBRID_HOME" in error[0]


def test_an_out_that_cannot_be_written_asks_for_another(home, tmp_path_factory, capsys):
    place = tmp_path_factory.mktemp("elsewhere") / "file"
    place.touch()
    assert cli.main(["embed", "--run", "cifar10", "--images", "digits", "--out", str(place / "codes.npz")]) == 2
    assert "or give another path" in capsys.readouterr().err


@pytest.mark.parametrize("parameters", [{"profile": 3}, {"dataset": 7}, {"seed": "1"}, {"seed": 2**64}, {"seed": True}])
def test_parameters_of_other_types_are_told(home, parameters):
    with pytest.raises(hybrid.HybridError, match="is not usable"):
        hybrid.Experiment.from_notebook({"profile": "smoke", "dataset": "digits", "seed": 0} | parameters)


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hybrid 0.")


@pytest.fixture
def heard():
    """SIGINT, also where these tests are a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_one_line(home, heard, number, status):
    """And the same command continues from the checkpoint."""
    profile = "smoke,hybrid.representation.training.epochs=10000"
    command = [sys.executable, "-m", "hybrid.cli", "train", "--profile", profile, "--methods", "hybrid"]
    running = subprocess.Popen(command, cwd=paths.REPOSITORY, stderr=subprocess.PIPE, text=True, env=os.environ)
    history = paths.runs(profile, "digits") / "hybrid/seed0/representation/history.jsonl"
    ends = time.monotonic() + 120
    while not history.exists() and running.poll() is None and time.monotonic() < ends:
        time.sleep(0.1)
    running.send_signal(number)
    error = running.communicate(timeout=60)[1]
    assert running.returncode == status
    device, told = error.splitlines()
    assert "float32" in device or "bf16" in device
    assert number.name in told and "the same command continues" in told and str(home) in told


def test_a_signal_ends_embed_with_what_it_keeps_and_other_commands_with_what_they_do(home, heard, monkeypatch, capsys):
    """Nothing of them is a training."""
    monkeypatch.chdir(home)
    for i in range(3):
        Image.new("RGB", (32, 32), (i, i, i)).save(home / f"{i}.png")
    embedding = ["embed", "--run", "cifar10", "--images", "0.png", "1.png", "2.png", "--out", "codes.npz"]
    encode, calls = HybridModel.encode, []

    def interrupted(self, images):
        calls.append(len(images))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        return encode(self, images)

    monkeypatch.setattr(HybridModel, "encode", interrupted)
    monkeypatch.setattr(embed.embed, "__defaults__", (("y",), 1, None))  # chunks of one image
    assert cli.main(embedding) == 130
    kept = "finished codes are in .codes.npz.parts; the same command continues from there, then removes it"
    assert capsys.readouterr().err == f"hybrid: stopped by SIGINT; {kept}\n"
    assert (home / ".codes.npz.parts").is_dir() and not (home / "codes.npz").exists()
    assert cli.main(embedding) == 0 and len(calls) == 4 and not (home / ".codes.npz.parts").exists()
    assert capsys.readouterr().out == "codes of 3 images: codes.npz\n"
    assert cli.main([*embedding[:4], "0.png", "--out", "one.npz"]) == 0
    assert capsys.readouterr().out == "codes of 1 image: one.npz\n"
    calls[:] = [0]
    assert cli.main(["interpolate", "--run", "cifar10", "--start", "0.png", "--end", "1.png", "--out", "x.png"]) == 130
    assert capsys.readouterr().err == "hybrid: stopped by SIGINT; nothing was kept; the same command starts again\n"
    assert "--pairs measures the others" in cli._kept(partial(cli.bench))


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


def command_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("name", [command.__name__ for command in cli.COMMANDS])
def test_each_command_has_examples_that_it_takes(name, capsys, monkeypatch):
    """The examples of the help, as they stand, with the work left out."""
    ran = []

    def record(command):
        return wraps(command)(lambda *arguments, **named: ran.append(command.__name__))

    command_help(name, capsys)
    command = next(command for command in cli.COMMANDS if command.__name__ == name)
    lines = [line.strip().split(" | ")[-1] for line in command.__doc__.splitlines() if re.match(r"\s+(hybrid|find) ", line)]
    monkeypatch.setattr(cli, "COMMANDS", tuple(record(command) for command in cli.COMMANDS))
    for line in lines:
        assert cli.main(shlex.split(line)[1:]) == 0, line
    assert lines and name in ran


def test_the_help_of_all_is_a_line_each_and_tells_exit_statuses_and_completion(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert "For example" not in shown and len(shown.splitlines()) < 60
    for part in (*(command.__name__ for command in cli.COMMANDS), "Exit status: 0 done; 2", "75", "130 and 143", "completion"):
        assert part in shown


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("sampel", "hybrid: 'sampel' is not a command: did you mean sample?"),
        ("reproduse", "hybrid: 'reproduse' is not a command: did you mean reproduce?"),
        ("neighbors", "hybrid: 'neighbors' is not a command: did you mean neighbours?"),
        ("frobnicate", "hybrid: 'frobnicate' is not a command: choose one of reproduce, train, evaluate, sample"),
    ],
)
def test_a_typo_suggests_the_nearest_command(typed, says, capsys):
    assert cli.main([typed, "--run", "cifar10"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(says) and told.err.count("\n") == 1 and not told.out


@pytest.mark.parametrize("typed", [["--path", "a.png"], ["--path=a.png"], ["--cell", "hybrid", "acc", "--path", "a.png"]])
def test_an_argument_with_a_place_gets_a_hint_when_it_is_given_as_an_option(typed, capsys):
    assert cli.main(["explain", *typed]) == 2
    told = capsys.readouterr()
    assert told.err == "hybrid: --path is not an option: give PATH alone, as in hybrid explain PATH\n" and not told.out


def test_the_page_of_the_command_line_shows_an_argument_with_a_place_as_such():
    page = (paths.REPOSITORY / "docs/reference/cli.md").read_text()
    assert "| `PATH` | required |" in page and "`--path`" not in page


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(shell, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--tyro-print-completion", shell])
    assert not ended.value.code
    script = capsys.readouterr().out
    assert "neighbours" in script and "--query" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--tyro-print-completion", "bash"])
    script = capsys.readouterr().out

    def offered(*typed):
        words = f"COMP_WORDS=(hybrid {shlex.join(typed)}) COMP_CWORD={len(typed)}; _tyro_hybrid; echo ${{COMPREPLY[@]}}"
        return subprocess.run(["bash", "-c", f"{script}\n{words}"], capture_output=True, text=True, check=True).stdout.split()

    assert offered("em") == ["embed"]
    assert offered("embed", "--part", "") == ["y", "w", "z"]
    assert set(offered("embed", "--")) == {"--help", "--run", "--images", "--out", "--part"}


def test_embed_probe_and_neighbours_print_results_alone(home, tmp_path, monkeypatch, capsys):
    """By a released model on pictures of its own: files are written, numbers go to standard output, the rest does not."""
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "shapes" / ("light", "dark")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 100, (40, 60, 3), dtype=np.uint8) + np.uint8(120 * (i % 2 == 0))).save(path)
    (tmp_path / "shapes" / "light" / ".hidden.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["embed", "--run", "cifar10", "--images", "shapes", "--out", "codes.npz", "--part", "y", "w"]) == 0
    told = capsys.readouterr()
    assert told.out == "codes of 40 images: codes.npz\n"
    codes = np.load("codes.npz")
    assert set(codes) == {"file", "class", "y", "w", "encoder", "origin"} and codes["y"].shape == (40, 3, 16, 16)

    assert cli.main(["probe", "--run", "cifar10", "--dataset", "shapes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["accuracies"]["y"]["linear acc., %"] == 100 and found["confusion"]["counts"] == [[4, 0], [0, 4]]
    assert (tmp_path / "probe-shapes" / "neighbours.png").exists()

    query = str(tmp_path / "shapes" / "dark" / "1.png")
    for images in ("shapes", "codes.npz"):
        assert cli.main(["neighbours", "--run", "cifar10", "--query", query, "--images", images, "--json", "--count", "3"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert [one["class"] for one in found["neighbours"]] == ["dark"] * 3
    assert (tmp_path / "neighbours.png").exists()
    for wrong, says in (
        (["embed", "--run", "cifar10", "--images", "nowhere", "--out", "c.npz"], "'nowhere' is not there"),
        (["embed", "--run", "cifar10", "--images", "shapes", "--out", "c.pt"], "no known ending"),
        (
            ["neighbours", "--run", "cifar10", "--query", "absent.png", "--images", "shapes"],
            "absent.png does not exist: expected an image",
        ),
        (["probe", "--run", "nothing", "--dataset", "shapes"], "neither a run's folder nor released"),
    ):
        assert cli.main(wrong) == 2
        told = capsys.readouterr()
        assert says in told.err and told.err.count("\n") == 1 and not told.out


def test_a_reader_that_closes_the_pipe_ends_a_command_without_a_traceback(home):
    command = [sys.executable, "-m", "hybrid.cli", "data"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
