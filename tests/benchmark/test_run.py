"""The benchmark: ratios with a simulated clock, convolutions counted by hand, and the contents of its files."""

import json
import statistics
import sys
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec

import pandas as pd
import pytest
import scipy.linalg
import torch
from pytorch_fid import fid_score

from hybrid.benchmark import contenders, contenders_frechet
from hybrid.benchmark import run as benchmark
from hybrid.benchmark.contenders import Pair, Setting, Workload
from hybrid.benchmark.roofline import alone, calls, recorded
from hybrid.benchmark.run import PAIRS, QUICK, QUICK_PROFILE, Measured, bench, compare, measure
from hybrid.errors import HybridError
from hybrid.models import moco
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import LatentDDIM
from hybrid.profiles.overrides import PROFILES, profile
from hybrid.profiles.schema import Augmentation, Autoencoder, Contrast

CPU = torch.device("cpu")


@pytest.fixture
def setting():
    return Setting(profile(QUICK_PROFILE), CPU, QUICK)


class Machine:
    """A clock, and turns that take as long as they are told; it notes whose turn it was."""

    def __init__(self, ours: list[float], peer: list[float]):
        self.now, self.order = 0.0, ""
        self.workload = Workload(lambda: self.work("A", ours), lambda: self.work("B", peer), 10, "")

    def work(self, name: str, durations: list[float]) -> float:
        self.order += name
        self.now += durations.pop(0)
        return self.now

    def measure(self, seconds: float) -> Measured:
        return measure(self.workload, seconds, clock=lambda: self.now)


def test_turns_alternate_and_the_first_two_warm_up():
    machine = Machine([9, 1, 2, 1], [9, 3, 2, 4])
    measured = machine.measure(18 + 13)
    assert machine.order == "ABABABAB"
    assert (measured.ours, measured.peer) == ((1, 2, 1), (3, 2, 4))
    assert measured.ratios == [3, 1, 4]
    assert measured.results == (27, 31)


def test_turns_longer_than_the_time_count_once():
    machine = Machine([100], [150])
    assert machine.measure(30).ratios == [1.5]
    assert machine.order == "AB"


def test_a_row_holds_the_median_of_ratios_not_the_ratio_of_medians(monkeypatch, setting):
    ours, peer = (1.0, 2.0, 10.0), (4.0, 2.0, 30.0)
    monkeypatch.setattr(benchmark, "measure", lambda *args, **kwargs: Measured(ours, peer, (90.0, 80.0)))
    workload = Workload(lambda: None, lambda: None, 100, "as it is", returns="accuracy")
    row = compare(Pair("a", "b", "c", lambda setting: nullcontext(workload)), setting, 1)
    assert row["ratio_median"] == pytest.approx(3.0)
    assert statistics.median(peer) / statistics.median(ours) == 2.0
    assert (row["ratio_min"], row["ratio_max"], row["runs"]) == (1.0, 4.0, 3)
    assert (row["ours_seconds"], row["peer_seconds"]) == (2.0, 4.0)
    assert (row["ours_accuracy"], row["peer_accuracy"]) == (90.0, 80.0)
    assert row["note"] == "50 and 25 images a second; as it is"


def test_quick_look_without_peers_writes_table_provenance_and_plot(tmp_path, monkeypatch, capsys):
    for name in ("kornia", "lightly"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    path = bench(tmp_path, seconds=0.01, pairs=("hybrid_step", "augmentation", "moco_step"), quick=True)
    table = pd.read_csv(path)
    assert list(table.columns) == list(benchmark.COLUMNS)
    assert table["pair"].tolist() == ["augmentation"] * 4 + ["moco_step", "hybrid_step"]
    missing = table["peer"].isin(["kornia", "lightly"])
    assert table["ratio_median"].notna().eq(~missing).all()
    assert table.loc[missing, "note"].str.startswith("not installed: pip install ").all()
    assert (table.loc[~missing, ["ours_seconds", "peer_seconds", "ratio_min", "runs", "images"]] > 0).all(axis=None)
    assert {p.name for p in tmp_path.iterdir()} == {path.with_suffix(s).name for s in (".csv", ".json", ".png", ".pdf")}
    origins = json.loads(path.with_suffix(".json").read_text())
    rows = {f"{row.pair}, {row.peer}" for row in table.itertuples()}
    assert origins.keys() == rows
    for origin in origins.values():
        assert origin["quick"] is True and {"commit", "device", "counts", "peers", "profile"} <= origin.keys()
    assert capsys.readouterr().out.count("\n") == 1 + len(table)


def test_other_pairs_rows_stay(tmp_path):
    path = bench(tmp_path, seconds=0.01, pairs=("hybrid_step",), quick=True)
    before = pd.read_csv(path)
    for damaged in (False, True):
        if damaged:
            path.write_bytes(b"\xff\x00")
        bench(tmp_path, seconds=0.01, pairs=("linear_probe",), quick=True)
        after = pd.read_csv(path)
        assert after["pair"].tolist() == ["linear_probe"] * 2 + ["hybrid_step"] * (not damaged)
        if not damaged:
            pd.testing.assert_frame_equal(after.tail(1).reset_index(drop=True), before)
        origins = json.loads(path.with_suffix(".json").read_text())
        assert {name.split(",")[0] for name in origins} == {"hybrid_step", "linear_probe"}


def test_a_peer_that_is_not_installed_now_keeps_its_row_and_origin(tmp_path, monkeypatch):
    path = bench(tmp_path, seconds=0.01, pairs=("moco_step",), quick=True)
    origins = json.loads(path.with_suffix(".json").read_text())
    (peer,) = (pair.peer for pair in PAIRS if pair.name == "moco_step")
    older = {"moco_step": origins[f"moco_step, {peer}"]}  # as before each row had its own
    path.with_suffix(".json").write_text(json.dumps(older))
    monkeypatch.setitem(sys.modules, peer, None)
    monkeypatch.setattr(benchmark, "provenance", lambda **_: {"commit": "now", "date": "now"})
    bench(tmp_path, seconds=0.01, pairs=("moco_step",), quick=True)
    assert json.loads(path.with_suffix(".json").read_text()) == origins


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.name} {pair.peer}")
def test_every_pair_runs_or_says_what_it_needs(pair, setting):
    row = compare(pair, setting, 0.01)
    if "ratio_median" not in row:
        package = pair.requires.partition(">")[0]
        assert package in ("kornia", "lightly") and find_spec(package) is None  # the others come with the tests
        assert row["note"].startswith(f"not installed: pip install '{pair.requires}'")
        return
    assert row["ratio_median"] > 0
    if pair.peer == "scikit-learn, one fit":  # the same objective has one minimum
        assert row["ours_accuracy"] == pytest.approx(row["peer_accuracy"], abs=1)


@pytest.mark.parametrize("make", [contenders.pil_images, contenders.tensors, contenders.pil_loader, contenders.kornia])
def test_peers_augment_a_batch_to_what_ours_does(make):
    if make is contenders.kornia:
        pytest.importorskip("kornia")
    views = list(make(contenders.digits()[:4], Augmentation(), 2)())
    assert [(v.shape, v.dtype) for v in views] == [((4, 3, 32, 32), torch.float32)] * 2
    assert all(v.min() >= 0 and v.max() <= 1 + 1e-6 and v.std() > 0.01 for v in views)


def test_convolutions_of_a_step_are_those_counted_by_hand(monkeypatch):
    monkeypatch.setattr(moco, "all_parts_at_once", lambda device: False)
    config = replace(
        profile(QUICK_PROFILE).hybrid.representation,
        autoencoder=Autoencoder(widths=(8, 16), cells=(1, 1), decoder_width=8, decoder_cells=1),
        contrast=Contrast(queue=16, key_batch=2, hidden=32, dim=16),
    )
    found = calls(Representation(config).train(), torch.zeros(4, 3, 32, 32, dtype=torch.uint8))

    # Multiplications and additions of an image: places x channels in x channels out x kernel.
    stem = 256 * 12 * 8 * 9
    first = 2 * 256 * 8 * 8 * 9 + 2 * 8 * 4  # a cell and its squeeze-excite at 16 x 16
    second = 64 * 8 * 16 * 9 + 2 * 64 * 16 * 16 * 9 + 2 * 16 * 4  # down to 8 x 8, a cell there
    to_y, to_w = 64 * 16 * 12, 256 * 8 * 3 * 9
    head = 768 * 32 + 32 * 16
    decoder = 256 * (6 * 8 * 9 + 8 * 16 + 16 * 9 + 16 * 8 + 8 * 12 * 9) + 2 * 8 * 4
    forward = stem + first + second + to_y + head
    # The output, its gradient by the input (the stem's is an image) and by the weights; keys have no gradient.
    expected = 2 * 4 * (3 * (forward + to_w + decoder) - stem + forward)
    assert sum(call.flops * count for call, count in found.items()) == expected
    # Encoder 12, head 2, decoder 7; of the keys, in two parts, the encoder's without w and the head's.
    assert found.total() == 12 + 2 + 7 + 2 * (11 + 2)
    assert sum(count for call, count in found.items() if not call.weight_gradient) == 26


@pytest.mark.parametrize("name", PROFILES)
def test_diffusers_net_is_ours_in_parameters_and_operations(name):
    pytest.importorskip("diffusers")
    prior, found = replace(PROFILES[name].hybrid.prior, unshuffle=None), []
    with torch.device("meta"):
        for net, folded in (
            (LatentDDIM(prior, PROFILES[name].hybrid.representation.autoencoder).net, 1),
            (contenders.unet2d(prior), prior.patch),
        ):
            x, t = torch.empty(2, 6 * folded**2, 16 // folded, 16 // folded), torch.empty(2)
            with recorded(net) as layers, torch.no_grad():
                net(x, t)
            parameters = sum(p.numel() for p in net.parameters())
            found.append((parameters, sum(call.flops * count for call, count in layers.items())))
    assert found[0] == found[1]


def test_frechet_keeps_nothing_from_turn_to_turn(monkeypatch, setting):
    made = []
    monkeypatch.setattr(contenders_frechet, "frechet_distance", lambda a, b: made.append(b) or 0.0)
    with contenders_frechet.pytorch_fid(setting) as workload:
        workload.ours()
        workload.ours()
    assert made[0] is not made[1] and "root" not in made[1].__dict__


def test_convolutions_alone_leave_the_model_as_it_was(setting):
    model = contenders.representation(setting)
    before = {name: value.clone() for name, value in model.named_parameters()}
    found = calls(model, contenders.digits()[:2])
    alone(found, CPU)()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        torch.testing.assert_close(parameter, before[name], rtol=0, atol=0)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_convolutions_alone_run_in_the_type_of_the_step(setting, precision, monkeypatch):
    """With layers wide enough for the ways of float32, which the quick profile's are not."""
    monkeypatch.setenv("HYBRID_PRECISION", precision)
    monkeypatch.setattr("hybrid.models.convolution.ENOUGH", 1)
    alone(calls(contenders.representation(setting), contenders.digits()[:8]), CPU)()


def test_sqrtm_gets_back_the_argument_that_scipy_removed(monkeypatch):
    root = scipy.linalg.sqrtm
    monkeypatch.setattr(fid_score.linalg, "sqrtm", lambda a: root(a))
    with contenders_frechet.old_sqrtm() as remark:
        result, _ = fid_score.linalg.sqrtm(torch.eye(3).numpy() * 4, disp=False)
    assert result == pytest.approx(torch.eye(3).numpy() * 2)
    assert "SciPy 1.18" in remark


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": 0}, "seconds = 0"),
        ({"fid_images": 1}, "fid_images = 1"),
        ({"pairs": ("fid",)}, "'fid' is unknown: choose among augmentation"),
        ({"profile": "desktop"}, "'desktop' is unknown"),
    ],
)
def test_wrong_input_is_told_in_one_line(tmp_path, change, message):
    with pytest.raises(HybridError, match=message) as caught:
        bench(tmp_path, **change)
    assert "\n" not in str(caught.value)
