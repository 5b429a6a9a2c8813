"""The commands on a trained hybrid."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

import hybrid
from hybrid import paths
from hybrid.cli import main
from hybrid.commands.common import with_numbers
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS
from hybrid.judging.factors import PARTS
from hybrid.machine import distributed, files
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.latent_ddim import LatentDDIM
from hybrid.profiles.overrides import profile
from hybrid.training import checkpoint
from hybrid.workflows import bounds, embed, factors, tradeoff


@pytest.mark.slow
def test_command_line_tools(done, tmp_path, capsys):
    run = str(done / "runs/smoke/digits/hybrid/seed0")
    assert main(["sample", "--run", run, "--out", str(tmp_path / "s.png"), "--count", "4", "--steps", "2"]) == 0
    npz = ["sample", "--run", run, "--out", str(tmp_path / "s.npz"), "--count", "4", "--steps", "2"]
    assert main([*npz, "--order", "2"]) == 0 and main(npz) == 0
    assert files.load_arrays(tmp_path / "s.npz")["images"].shape == (4, 32, 32, 3)
    ends = ["--start", str(tmp_path / "s.png"), "--end", str(tmp_path / "s.png")]
    assert main(["interpolate", "--run", run, *ends, "--out", str(tmp_path / "p.png"), "--part", "w"]) == 0
    assert Image.open(tmp_path / "s.png").size == (4 * 128, 128) and Image.open(tmp_path / "p.png").size == (9 * 128, 128)
    assert main(["embed", "--run", run, "--images", "digits", "--out", str(tmp_path / "z.npz"), "--part", "y", "w"]) == 0
    codes = files.load_arrays(tmp_path / "z.npz")
    assert codes["y"].shape[1:] == (3, 16, 16) and set(codes["split"]) == {"train", "test"}
    assert len(codes["w"]) == len(codes["class"])
    assert main(["evaluate", "--profile", "smoke"]) == 0  # judges what another test took away
    capsys.readouterr()
    assert main(["evaluate", "--profile", "smoke"]) == 0
    read = [line for line in capsys.readouterr().err.splitlines() if line.startswith("read from ")]
    assert len(read) == len(METHODS) and all(
        "measured at commit" in line and "again: move that file away" in line for line in read
    )
    assert main(["evaluate", "--profile", "smoke", "--methods", "mocov2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mocov2"]["acc"] > 0
    assert main(["data"]) == 0
    assert "sha256" in capsys.readouterr().out
    assert main(["sample", "--run", run, "--out", str(tmp_path / "s.png"), "--count", "0"]) == 2
    assert "count = 0: give 1 or more" in capsys.readouterr().err
    assert main(["sample", "--run", run, "--out", str(tmp_path / "s.jpg")]) == 2
    assert "expected .png or .npz" in capsys.readouterr().err
    assert main(["interpolate", "--run", run, *ends, "--out", str(tmp_path / "p.png"), "--frames", "1"]) == 2
    assert "frames = 1: give 2 or more" in capsys.readouterr().err


def test_studies_print_a_table_and_draw_a_picture(home, monkeypatch, capsys):
    """With made-up numbers in place of trainings."""
    numbers = {"acc_y": 50.0, "acc_w": 40.0, "acc_z": 50.0, "mse": 1.0, "i_cpc": 2.0, "i_ba": 100.0}

    def judged(experiment, name, config):
        return numbers | {
            "alpha": config.alpha,
            "y_channels": 6 if config.contrast.on == "z" else config.autoencoder.y_channels,
        }

    monkeypatch.setattr(tradeoff, "_judged", judged)
    for rows in ("contrast", "ends"):
        assert main(["tradeoff", "--profile", "smoke", "--rows", rows]) == 0
        path = Path(capsys.readouterr().out.rpartition("trade-off: ")[2].strip())
        assert path.exists() and path.with_suffix(".png").exists()

    study = pd.DataFrame([{"factor": "class", "part": part, "score": 0.5, "accuracy": 60.0} for part in PARTS])
    for name, value in (("_model", None), ("_untrained", None), ("_origin", {"date": "now"}), ("study", study)):
        monkeypatch.setattr(factors, name, lambda *_, value=value: value)
    assert main(["factors", "--profile", "smoke", "--run", "anything"]) == 0
    assert Path(capsys.readouterr().out.rpartition("picture: ")[2].strip()).exists()

    monkeypatch.setattr(bounds, "bounds", lambda seed: paths.bounds() / "bounds.json")  # the committed ones are read
    assert main(["bounds"]) == 0
    assert "NO " not in capsys.readouterr().out and (paths.bounds() / "bounds.png").exists()


def test_the_trained_hybrid_is_loaded_and_used(done):
    model = hybrid.load(done / "runs/smoke/digits/hybrid/seed0")
    images = Experiment("smoke").images.test_images[:4]
    z = model.encode(images)
    assert z.shape == (4, 6, 16, 16)
    torch.testing.assert_close(z, Experiment("smoke").model().encode(images))
    assert model.decode(z).shape == (4, 3, 32, 32)
    samples = model.sample(3, steps=2, seed=1)
    assert samples.shape == (3, 3, 32, 32)
    assert 0 <= samples.min() <= samples.max() <= 1
    torch.testing.assert_close(samples, model.sample(3, steps=2, seed=1))
    assert not torch.equal(samples, model.sample(3, steps=2, seed=2))
    with pytest.raises(HybridError, match="holds no trained hybrid"):
        hybrid.load(done)
    with pytest.raises(HybridError, match="holds MoCo-v2, which decodes nothing"):
        hybrid.load(done / "runs/smoke/digits/mocov2/seed0")


def test_without_classes_what_could_only_classify_is_left_out_or_refused(home, tmp_path, capsys):
    for i in range(40):
        (tmp_path / "mine").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (6 * i, 0, 0)).save(tmp_path / "mine" / f"{i}.png")
    flat = ["--profile", "smoke", "--dataset", str(tmp_path / "mine")]
    left = with_numbers(tuple(METHODS), Experiment("smoke", flat[-1]))
    assert left == tuple(name for name in METHODS if name != "mocov2")
    assert "has no classes: MoCo-v2 is left out" in capsys.readouterr().err
    assert with_numbers(("mocov2",), Experiment("laptop", "cifar10")) == ("mocov2",)  # known without the images
    assert main(["evaluate", *flat, "--methods", "mocov2"]) == 2
    assert "has no classes: a probe needs two or more" in capsys.readouterr().err
    assert not list(home.glob("runs/smoke/*/mocov2"))


def test_options_reach_the_model(tmp_path, monkeypatch):
    asked = []

    def sample(_, *rest):
        asked.append(rest)
        return torch.zeros(2, 3, 32, 32)

    def interpolate(_, x0, x1, t, part):
        asked.append((x0.max(), x1.max(), t.tolist(), part))
        return torch.zeros(1, len(t), 3, 32, 32)

    monkeypatch.setattr(HybridModel, "sample", sample)
    monkeypatch.setattr(HybridModel, "interpolate", interpolate)
    monkeypatch.chdir(tmp_path)
    for name, level in (("a", 10), ("b", 200)):
        Image.new("RGB", (32, 32), (level, level, level)).save(f"{name}.png")
    options = ["--count", "2", "--steps", "3", "--eta", "0.5", "--seed", "7", "--guidance", "2"]
    assert main(["sample", "--run", "cifar10", "--out", "s.png", *options]) == 0
    assert main(["sample", "--run", "cifar10", "--out", "s.png", "--order", "2"]) == 0
    ends = ["--start", "a.png", "--end", "b.png", "--frames", "3", "--part", "w"]
    assert main(["interpolate", "--run", "cifar10", "--out", "p.png", *ends]) == 0
    assert asked == [(2, 3, 0.5, 7, 1, 2.0), (64, 50, 0.0, 0, 2, None), (10, 200, [1.0, 0.5, 0.0], "w")]


def test_what_commands_write_is_explained_and_the_same_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32), (200, 10, 10)).save("a.png")
    small = profile("smoke").hybrid
    config = small.representation.autoencoder
    folder = str(hybrid.save_pretrained(HybridModel(Encoder(config), Decoder(config), LatentDDIM(small.prior, config)), "mine"))
    commands = [
        ["sample", "--run", folder, "--count", "2", "--steps", "2", "--out", "s.png"],
        ["sample", "--run", folder, "--count", "2", "--steps", "2", "--seed", "3", "--out", "s.npz"],
        ["interpolate", "--run", folder, "--start", "a.png", "--end", "a.png", "--out", "p.png"],
        ["embed", "--run", folder, "--images", "a.png", "--out", "z.npz"],
        ["embed", "--run", folder, "--images", "a.png", "--out", "z.parquet"],
        ["neighbours", "--run", folder + "/model.safetensors", "--query", "a.png", "--images", "s.npz", "--out", "n.png"],
    ]
    digest = checkpoint.digest(hybrid.from_pretrained(folder).state_dict())
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["hybrid", *command])
        assert main(command) == 0
        written = Path(command[-1]).read_bytes()
        assert main(command) == 0 and Path(command[-1]).read_bytes() == written
        capsys.readouterr()
        assert main(["explain", command[-1]]) == 0
        words = capsys.readouterr().out
        assert f", digest {digest}" in words and f"again      hybrid {' '.join(command)}" in words
        assert ("seed       3" in words) == (command[-1] == "s.npz")
    assert main(["diagnose", "--run", folder]) == 2
    assert "mine names no data set that can be loaded" in capsys.readouterr().err
    with pytest.raises(HybridError, match="mine does not tell what it was trained on"):
        factors._origin(Experiment("smoke"), folder)
    with monkeypatch.context() as patched, pytest.raises(HybridError, match="runs in one process, not in 2"):
        patched.setattr(distributed, "world", lambda: 2)
        embed.check(Path("z.npz"))
    Path("mine/config.json").write_text("{}")
    assert main(commands[0]) == 2
    assert "mine holds no hybrid: expected config.json and model.safetensors" in capsys.readouterr().err
