"""Weights written from a run and read again."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

import hybrid
from hybrid import paths, released
from hybrid.cli import main
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.judging import probe
from hybrid.judging.evaluate import squared_error
from hybrid.judging.probe import layer
from hybrid.models.hybrid import Representation
from hybrid.profiles import schema
from hybrid.training import checkpoint
from hybrid.workflows.release import card, list_sum, release


@pytest.fixture
def trained(done, monkeypatch):
    """The smoke run, whose weights were released into its home."""
    experiment, folder = Experiment("smoke"), done / "weights"
    if not folder.exists():
        release(experiment, folder)
    monkeypatch.setattr(released, "FOLDER", folder)
    return experiment


def test_what_is_released_is_the_trained_model(trained):
    model, images = hybrid.pretrained("digits"), trained.images.test_images[:8]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.encode(images), trained.model().encode(images), rtol=0.05, atol=0.05)
    torch.testing.assert_close(model.sample(2, steps=2), trained.model("hybridplus").sample(2, steps=2), rtol=0.05, atol=0.05)


def test_an_exported_file_is_opened_by_its_path(trained, monkeypatch):
    path, images = released.FOLDER / "digits.safetensors", released.examples("digits")
    z = hybrid.pretrained("digits").encode(images)
    monkeypatch.undo()
    model = released.open_model(path)
    assert torch.equal(model.encode(released.examples(str(path))), z)
    assert released.class_reader(str(path), model) is not None
    with pytest.raises(HybridError, match=r"none\.safetensors does not exist: give the path"):
        released.open_model("none.safetensors")


def test_a_stage_is_loaded_for_use_not_for_training(trained):
    folder = trained.run_folder("hybrid") / "representation"
    stage, _ = released.load_stage(folder, schema.Representation, Representation, torch.device("cpu"))
    assert not any(module.training for module in stage.modules())


def test_weights_are_not_replaced_unasked(trained):
    path = released.FOLDER / "digits.safetensors"
    before = path.stat().st_mtime_ns
    with pytest.raises(HybridError, match="exists: give another folder with --out, or --force"):
        release(trained, released.FOLDER)
    assert path.stat().st_mtime_ns == before


def test_weights_are_replaced_when_asked(trained, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "weights"
    shutil.copytree(released.FOLDER, folder)
    (folder / "digits.safetensors").write_bytes(b"others")
    assert main(["release", "--profile", "smoke", "--out", str(folder), "--force"]) == 0
    assert capsys.readouterr().out == f"weights: {folder / 'digits.safetensors'}\n"
    assert released.open_model(folder / "digits.safetensors").sampler == "Hybrid+, y and then w given y"


def test_a_device_that_is_not_here_is_told_in_a_line():
    for load, name in ((hybrid.pretrained, "cifar10"), (hybrid.load, paths.REPOSITORY / "tests")):
        with pytest.raises(HybridError, match=r"device = .gpu. cannot be used here .*: give cpu"):
            load(name, device="gpu")


def test_releasing_leaves_the_model_as_it_was(trained):
    again = hybrid.load(trained.runs / "hybridplus" / "seed0")
    for key, value in again.state_dict().items():
        assert torch.equal(value, trained.model("hybridplus").state_dict()[key]), key


def test_the_file_says_what_it_is(trained):
    about = released.about("digits")
    assert about["metrics"] == trained.outcome("hybridplus")["metrics"]
    assert set(about["provenance"]["trained"]) == {"representation", "semantic", "texture"}
    assert about["provenance"]["seed"] == 0
    shown = released.examples("digits")
    assert shown.shape == (16, 3, 32, 32) and shown.dtype == torch.uint8
    reconstructions = hybrid.pretrained("digits").reconstruct(shown)
    assert squared_error(reconstructions, shown) == pytest.approx(about["examples_mse"], rel=1e-3)


def test_the_released_probe_names_classes(trained):
    model, images = hybrid.pretrained("digits"), trained.images
    said = released.class_reader("digits", model)(images.test_images)
    truth = [images.class_names[label] for label in images.test_labels.tolist()]
    right = 100 * sum(one == other for one, other in zip(said, truth, strict=True)) / len(truth)
    assert right == pytest.approx(trained.outcome()["metrics"]["acc_y"], abs=3)  # the same probe, of rounded weights
    assert released.class_reader("runs/demo/digits/hybrid/seed0", model) is None
    path = released.FOLDER / f"digits{released.PROBE}"
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + b"x")
    try:
        with pytest.raises(HybridError, match="its SHA-256 is not the one in SHA256SUMS"):
            released.class_reader("digits", model)
    finally:
        path.write_bytes(kept)


def test_the_model_card_has_the_numbers(trained):
    text = (released.FOLDER / "digits.md").read_text()
    assert f"{trained.outcome()['metrics']['acc_y']:.1f} %" in text
    assert "MIT" in text and "{{" not in text and "smoke" in text


def test_everybody_may_read_the_weights_who_may_read_their_card(trained):
    card, weights = (released.FOLDER / f"digits{ending}" for ending in (".md", ".safetensors"))
    assert weights.stat().st_mode == card.stat().st_mode


def test_names_with_spaces_are_listed(tmp_path):
    (tmp_path / "my photos.npz").write_bytes(b"1")
    list_sum(tmp_path / "my photos.npz")
    (tmp_path / "a.npz").write_bytes(b"2")
    list_sum(tmp_path / "a.npz")
    assert released.sums(tmp_path) == {name: released.sha256(tmp_path / name) for name in ("a.npz", "my photos.npz")}


@pytest.mark.parametrize("name", released.names())
def test_the_committed_card_is_that_of_its_weights(name):
    """With all commits that its trainings ran at, the continued ones too."""
    path = paths.REPOSITORY / "hybrid" / "weights" / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        known = json.loads(file.metadata()["about"])
    text = path.with_suffix(".md").read_text()
    assert text == card(path, released.pretrained(name), "laptop", known)
    first = known["provenance"]["trained"]["representation"]
    assert all(each["commit"][:12] in text for each in (first, *first.get("resumed", ())))


def test_a_model_of_images_without_classes_has_a_card(trained):
    path, known = released.FOLDER / "digits.safetensors", released.about("digits")
    known["metrics"] = {name: value for name, value in known["metrics"].items() if not name.startswith("acc")}
    text = card(path, hybrid.pretrained("digits"), "smoke", known)
    assert "linear probe" not in text and "| | |\n|---|---|\n| reconstruction" in text


def test_a_diagnosis_of_a_run_is_of_its_data_set_or_asks_for_ones_own_images(trained, tmp_path, capsys):
    run = tmp_path / "another" / "name" / "run"
    shutil.copytree(trained.run_folder("hybrid"), run)
    command = ["diagnose", "--run", str(run), "--out", str(tmp_path / "x.png"), "--count", "8", "--steps", "2"]
    assert main(command) == 0
    path = run / "representation" / "checkpoint.pt"
    state = checkpoint.load(path)
    state["about"]["dataset"] = "faces-1a2b3c4d"
    torch.save(state, path)
    assert main(command) == 2
    assert "give its folder or .npz with --dataset" in capsys.readouterr().err


def test_a_diagnosis_of_weights_is_of_the_data_set_that_they_are_of(trained, tmp_path):
    weights = tmp_path / "cifar100" / "v1" / "digits.safetensors"
    weights.parent.mkdir(parents=True)
    shutil.copyfile(released.FOLDER / "digits.safetensors", weights)
    assert main(["diagnose", "--run", str(weights), "--out", str(tmp_path / "x.png"), "--count", "8", "--steps", "2"]) == 0


def test_the_command_line_takes_a_released_name(trained, tmp_path):
    assert main(["sample", "--run", "digits", "--out", str(tmp_path / "new.png"), "--count", "2", "--steps", "2"]) == 0
    assert (tmp_path / "new.png").stat().st_size > 0


def test_wrong_names_and_damaged_files_are_told(trained, tmp_path, monkeypatch):
    with pytest.raises(HybridError, match=r"no weights of 'mnist' are released: choose among digits"):
        hybrid.pretrained("mnist")
    with pytest.raises(HybridError, match=r"'mnist' is neither a run's folder nor released: choose among digits"):
        released.open_model("mnist")
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    (tmp_path / "digits.safetensors").write_bytes((trained.runs.parents[2] / "weights/digits.safetensors").read_bytes()[:1000])
    with pytest.raises(HybridError, match="is damaged"):
        hybrid.pretrained("digits")


def test_a_flipped_bit_of_released_weights_is_found(trained, tmp_path, monkeypatch):
    source = released.FOLDER
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    hybrid.pretrained("digits")
    content = bytearray((tmp_path / "digits.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "digits.safetensors").write_bytes(content)
    with pytest.raises(HybridError, match="its SHA-256 is not the one in SHA256SUMS"):
        hybrid.pretrained("digits")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors, known: tensors.pop(next(name for name in tensors if name != released.KEPT)), "Missing key"),
        (lambda tensors, known: known.pop("config"), "config is missing"),
        (lambda tensors, known: known["config"].pop("y"), "'y'"),
        (lambda tensors, known: known.update(metrics=[]), "metrics is missing or of another type"),
        (
            lambda tensors, known: next(x for x in tensors.values() if x.is_floating_point()).fill_(float("nan")),
            "is not finite",
        ),
    ],
)
def test_released_weights_that_are_whole_and_not_what_they_should_be(trained, tmp_path, monkeypatch, change, says):
    tensors, known = released.read(released.FOLDER / "digits.safetensors")
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    change(tensors, known)
    save_file(tensors, tmp_path / "digits.safetensors", {"about": json.dumps(known)})
    with pytest.raises(HybridError, match=says):
        hybrid.pretrained("digits")


def test_each_folder_samples_by_its_own_prior(trained, tmp_path, capsys):
    """The hybrid's by the DDIM on z, whether or not Hybrid+ lies beside it; Hybrid+'s by Hybrid+, and only when it is whole."""
    runs = tmp_path / "digits"
    shutil.copytree(trained.runs / "hybrid" / "seed0", runs / "hybrid" / "seed0")
    alone = hybrid.load(runs / "hybrid" / "seed0")
    with pytest.raises(HybridError, match=r"'.*hybridplus/seed0' does not exist: expected a run's folder, such as runs/demo"):
        hybrid.load(runs / "hybridplus" / "seed0")
    shutil.copytree(trained.runs / "hybridplus" / "seed0", runs / "hybridplus" / "seed0")
    found = {name: hybrid.load(runs / name / "seed0") for name in ("hybrid", "hybridplus")}
    assert repr(found["hybrid"]) == repr(alone) and alone.sampler == "a DDIM on z"
    assert found["hybridplus"].sampler == "Hybrid+, y and then w given y" and "Hybrid+" in repr(found["hybridplus"])
    for name, model in (("hybrid", alone), *found.items()):
        torch.testing.assert_close(model.sample(2, steps=2), trained.model(name).sample(2, steps=2))
        out = str(tmp_path / "x.npz")
        assert main(["sample", "--run", str(runs / name / "seed0"), "--out", out, "--count", "2", "--steps", "2"]) == 0
        assert capsys.readouterr() == (f"samples: {out}\n", f"sampling by {model.sampler}, seed 0\n")
    shutil.rmtree(runs / "hybridplus" / "seed0" / "texture")
    with pytest.raises(
        HybridError, match=r"hybridplus/seed0 holds no trained Hybrid\+: train it to its end .*, or give .*hybrid/s"
    ):
        hybrid.load(runs / "hybridplus" / "seed0")
    shutil.rmtree(runs / "hybrid" / "seed0" / "representation")
    with pytest.raises(HybridError, match="hybrid/seed0 holds no trained hybrid: give"):
        hybrid.load(runs / "hybridplus" / "seed0")


def test_each_loader_names_the_right_one(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").touch(), (tmp_path / "run").mkdir()
    for wrong, says in (
        (lambda: hybrid.load("digits"), r"'digits' is not a folder, it .*: hybrid.pretrained\('digits'\) loads them"),
        (lambda: hybrid.load("README.md"), "'README.md' is a file: expected a run's folder"),
        (lambda: hybrid.load("nowhere"), "'nowhere' does not exist: expected a run's folder"),
        (
            lambda: hybrid.load(hybrid.save_pretrained(hybrid.pretrained("digits"), "hub")),
            "hub holds .*: hybrid.from_pretrained",
        ),
        (lambda: hybrid.pretrained("run"), r"'run' is a folder, not .*: hybrid.load\('run'\) loads a run"),
        (
            lambda: released.open_model("README.md"),
            "'README.md' is neither a run's folder nor released: .* give a folder, such as",
        ),
    ):
        with pytest.raises(HybridError, match=says):
            wrong()


def test_a_prior_of_another_first_stage_is_refused(trained, tmp_path):
    run = tmp_path / "digits" / "hybrid" / "seed0"
    shutil.copytree(trained.runs / "hybrid" / "seed0", run)
    path = run / "representation" / "checkpoint.pt"
    state = checkpoint.load(path)
    for weights in (state["weights"], state["model"]):
        for name in (name for name, value in weights.items() if value.ndim > 1):
            weights[name] = weights[name] * 1.01
    checkpoint.save(path, state)
    with pytest.raises(HybridError, match="was trained on the codes of other weights"):
        hybrid.load(run)


def test_the_layer_takes_features_as_they_are():
    """Constant features count for nothing, whatever they are at test time; the classes are those of standardised features."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    features = torch.randn(300, 4, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 4)
    features = torch.cat([1000 + 50 * features, torch.full((300, 1), 7.0)], dim=1)
    weight, bias = layer(features, labels, 1e-3)
    assert weight.shape == (3, 5) and not weight[:, 4].any()
    standardised = probe.standardise(features, features)[0].numpy()
    peer = LogisticRegression(C=1 / (1e-3 * 300), tol=1e-8).fit(standardised, labels)
    ours = (features @ weight.T + bias).softmax(1)
    torch.testing.assert_close(ours, torch.from_numpy(peer.predict_proba(standardised)).float(), atol=2e-3, rtol=0)


def test_what_save_pretrained_writes_is_for_from_pretrained(trained, tmp_path):
    hybrid.save_pretrained(hybrid.pretrained("digits"), tmp_path / "saved")
    for name in (tmp_path / "saved", tmp_path / "saved" / "model.safetensors"):
        with pytest.raises(HybridError, match=r"hybrid\.from_pretrained loads"):
            hybrid.pretrained(name)
