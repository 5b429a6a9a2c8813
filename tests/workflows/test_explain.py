"""Where a kept file comes from, of the committed results and of pictures that carry it themselves."""

import json
import re
import shlex

import numpy as np
import pytest
from checkout import committed

from hybrid import paths, released
from hybrid.errors import HybridError
from hybrid.machine.provenance import again
from hybrid.showing import figures
from hybrid.workflows.explain import explain, origins

RESULTS = paths.REPOSITORY / "results" / "demo" / "digits"


def outcome(name):
    return json.loads((RESULTS / "seed0" / f"{name}.json").read_text())


COMMITTED = "figure3.png figure6.pdf hybrid.json hybrid-prior.jsonl figure3.npz samples.png ddim-nearest.png curves.pdf"


@pytest.mark.parametrize("name", COMMITTED.split())
def test_committed_files_are_explained(name):
    words = explain(RESULTS / "seed0" / name)
    origin = outcome("hybridplus" if "6" in name else "ddim" if "ddim" in name else "hybrid")["provenance"]
    options = "--profile demo --dataset digits --seed 0"
    method = "hybridplus" if "6" in name else "ddim" if "ddim" in name else "hybrid"
    again = f"hybrid train {options} --methods hybrid &&" if ".json" in name else f"hybrid reproduce {options}"
    if ".npz" in name:  # the pictures carry what an earlier version wrote
        again += f" --methods {method}"
    assert origin["sha256"] in words and again in words
    assert origin["device"] in words and "commit" in words


def test_a_cell_of_a_table_is_explained():
    words = explain(RESULTS / "table1.md", ("mocov2", "acc"))
    assert f"acc = {outcome('mocov2')['metrics']['acc']:g}" in words and outcome("mocov2")["provenance"]["command"] in words
    assert "nvae" not in words
    options = "--profile demo --dataset digits --seed 0 --methods mocov2"
    assert f"hybrid train {options} && hybrid evaluate {options}" in words


@pytest.mark.parametrize(
    ("called", "named"),
    [
        (("Hybrid", "accuracy"), ("hybrid", "acc")),
        (("moco-V2", "linear acc., %"), ("mocov2", "acc")),
        (("NVAE-lite", "Error, 1e-3"), ("nvae", "mse")),
        (("BigGAN", "FD, EfficientNet-lite0"), ("biggan", "fd_efficientnet_lite0")),
        (("BigGAN", "FD, lite0"), ("biggan", "fd_efficientnet_lite0")),
        (("biggan", "FD (EfficientNet, not FID)"), ("biggan", "fd_efficientnet_lite0")),
    ],
)
def test_a_cell_is_found_by_its_headings(called, named):
    assert explain(RESULTS / "table1.md", called) == explain(RESULTS / "table1.md", named)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (("mocov2", "mse"), "has no number 'mse' of MoCo-v2: choose one of acc"),
        (("BigGAN", "FID"), "fid of BigGAN was not measured: choose one of .*fd_efficientnet_lite0"),
        (("hybrid", "colour"), "has no number 'colour' of Hybrid: choose one of mse"),
        (("gan", "acc"), "method 'gan' is unknown: choose one of hybrid"),
        (("Contrast on z", "error"), "has no row of Contrast on z: give seed0/contrast_on_z.json instead"),
    ],
)
def test_a_cell_without_a_number_is_told_with_what_there_is(cell, says):
    with pytest.raises(HybridError, match=says):
        explain(RESULTS / "table1.csv", cell)


def test_a_cell_of_what_is_no_table_is_refused():
    with pytest.raises(HybridError, match="is not a table: leave out --cell"):
        explain(RESULTS / "seed0" / "hybrid.json", ("hybrid", "acc"))


def test_a_table_is_of_all_its_outcomes():
    assert len(origins(RESULTS / "table1.png")) == len(json.loads((RESULTS / "table1.json").read_text())["computed from"])


def test_released_weights_are_explained():
    digest = released.sha256(released.FOLDER / "cifar10.safetensors")
    text = explain(released.FOLDER / "cifar10.safetensors")
    assert f"weights    SHA-256 {digest}, in SHA256SUMS\n" in text
    assert "again      hybrid release --out weights --profile laptop --dataset cifar10 --seed 0" in text


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_pictures_carry_their_origin(tmp_path, suffix):
    from matplotlib import pyplot as plt

    origin = {"made from": "a (b) \\ c.npz", "commit": "abc"}
    for _ in range(2):
        figures.save_figure(plt.figure(), tmp_path / "x", origin)
        content = (tmp_path / f"x{suffix}").read_bytes()
    assert origins(tmp_path / f"x{suffix}") == [origin]
    figures.save_figure(plt.figure(), tmp_path / "x", origin)
    assert (tmp_path / f"x{suffix}").read_bytes() == content


@pytest.mark.parametrize("sha256", ["1a2b3c4d" + 56 * "0", 64 * "f"])  # of all images, and of a part of them
@pytest.mark.parametrize(
    ("source", "commands", "command", "says"),
    [
        ("hybrid.json", ("train", "evaluate"), "x --dataset 'my pictures'", "--methods hybrid &&.*--methods hybrid  # in the"),
        ("mocov2-representation.jsonl", ("train",), "x --dataset=/a/pictures.npz", "/a/pictures.npz .* --methods mocov2$"),
        ("figure4.npz", ("reproduce",), "x --dataset /a/pictures/", "/a/pictures/ .* --methods hybrid$"),
        ("figure6.npz", ("reproduce",), "x --dataset /a/pictures", "/a/pictures .* --methods hybridplus$"),
        ("nvae-gallery.npz", ("reproduce",), "x --dataset /other", "PATH .* nvae  # PATH: .* pictures, which was not"),
        ("hybrid.json", ("train",), "a notebook", "--dataset PATH "),
        ("hybrid.json", ("train",), "an 'open quote", "--dataset PATH "),
        ("pictures.safetensors", ("release",), "x --dataset /a/pictures", "hybrid release .*/a/pictures --seed 3$"),
    ],
)
def test_the_command_is_of_the_method_and_of_a_path_that_was_given(source, commands, command, says, sha256):
    """Not the name of the results' folder, which no --dataset takes. A training's command counts too."""
    stem = "my pictures" if "my " in command else "pictures"
    origin = {"profile": {"name": "smoke"}, "dataset": f"{stem}-1a2b3c4d", "sha256": sha256, "seed": 3}
    for each in ({"command": command}, {"command": "a notebook", "trained": {"prior": {"command": command}}}):
        found = again(origin | each, source, *commands)
        assert re.search(says, found) and "1a2b3c4d" not in found
        words = shlex.split(found.partition("  # ")[0])
        assert words[:4] == ["hybrid", commands[0], "--profile", "smoke"] and words.count("hybrid") >= len(commands)


def test_a_history_is_explained_by_what_lies_beside_it(done, tmp_path):
    stage = done / "runs" / "smoke" / "digits" / "hybrid" / "seed0" / "prior"
    assert "checkpoint.pt" in explain(stage / "history.jsonl") and "step" in explain(stage / "history.jsonl")
    for name, outcome in (("alone.jsonl", "alone.json"), ("hybrid-prior.jsonl", "hybrid.json"), ("a-b-c.jsonl", "a-b.json")):
        (tmp_path / name).write_text('{"step": 1}\n')
        with pytest.raises(HybridError, match=f"{name} is in {outcome} beside it, which is missing: expected"):
            explain(tmp_path / name)


def test_the_log_of_screens_names_each_command():
    path = paths.REPOSITORY / "results" / "bench" / "screen.jsonl"
    text = explain(path)
    lines = path.read_text().splitlines()
    assert all(json.loads(line)["provenance"]["command"] in text for line in lines)


def test_what_has_no_origin_is_told(tmp_path):
    with pytest.raises(HybridError, match=r"does not exist: expected a \.png"):
        explain(tmp_path / "x.png")
    (tmp_path / "x.txt").touch()
    with pytest.raises(HybridError, match="has no known origin"):
        explain(tmp_path / "x.txt")


def test_what_only_looks_like_an_origin_and_a_list_of_outcomes_are_told(tmp_path):
    for number, origin in enumerate((np.zeros(3), "3", "{}", "no JSON")):
        np.savez(tmp_path / f"{number}.npz", origin=origin)
        with pytest.raises(HybridError, match="does not contain its origin"):
            explain(tmp_path / f"{number}.npz")
    with pytest.raises(HybridError, match=r"expected\.json lists outcomes of several runs"):
        explain(RESULTS / "expected.json")
    figures.save_png(tmp_path / "report.png", np.zeros((1, 3, 32, 32), np.uint8), 1, {"made from": "x", "commit": "abc"})
    assert origins(tmp_path / "report.png") == [{"made from": "x", "commit": "abc"}]  # no table is beside it


@pytest.mark.parametrize(
    ("name", "content"),
    [("codes.npz", None), ("mine.json", b"{}"), ("mine.pt", b"text"), ("mine-a.jsonl", b"{}"), ("mine.npz", b"text")],
)
def test_files_of_another_origin_stay_as_they_are(tmp_path, name, content):
    path = tmp_path / name
    np.savez(path, y=np.zeros(3)) if content is None else path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(HybridError, match=r"does not contain its origin|is not a complete|is in mine.json|is damaged"):
        explain(path)
    assert [each.name for each in tmp_path.iterdir()] == [name] and path.read_bytes() == before


def test_every_committed_picture_is_explained():
    pictures = [path for path in committed("results/**/*") if path.suffix in (".png", ".pdf")]
    assert pictures
    for path in pictures:
        for origin in origins(path):
            assert origin["command"] and origin["commit"] != "not recorded", path


def test_measurements_are_explained_by_the_commands_that_made_them():
    results = paths.REPOSITORY / "results"
    for name, command in (
        ("bounds/bounds.json", "hybrid bounds"),
        ("tradeoff/demo-digits.png", "hybrid tradeoff"),
        ("demo/digits/factors/seed1.json", "hybrid factors --profile demo --seed 1"),
        ("bench/2-cores-of-amd-epyc-float32.png", "hybrid bench"),
    ):
        text = explain(results / name)
        assert re.search(f"again +{command}", text) and re.search("commit +[0-9a-f]{40}", text)
    released = explain(results / "laptop/cifar10/factors/seed0.json")
    assert re.search(r"trained +first stage: .*train --profile laptop --dataset cifar10", released)


def test_a_figure_of_released_weights_is_drawn_again_by_its_notebook():
    text = explain(paths.REPOSITORY / "results" / "laptop" / "cifar10" / "seed0" / "figure6.npz")
    assert re.search(r"weights +released cifar10, in half precision\n", text)
    assert "papermill notebooks/figure6.ipynb out.ipynb -p profile laptop -p dataset cifar10 -p seed 0" in text
