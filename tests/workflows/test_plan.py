"""The plan of a reproduction: the stages that it finds, and its estimates of seconds."""

from dataclasses import replace

import pytest

from hybrid import paths
from hybrid.cli import main
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.machine import files
from hybrid.profiles import overrides
from hybrid.training.history import read_history
from hybrid.training.loop import Clock
from hybrid.workflows import plan
from hybrid.workflows.plan import DRAWING, Work

DEMO = "demo,hybrid.representation.training.epochs=600"


@pytest.fixture
def slow(monkeypatch):
    """A step of each stage lasts a second; the list tells which were timed."""
    timed = []
    monkeypatch.setattr(plan, "seconds_per_step", lambda stage, labels, limit: timed.append((stage.name, limit)) or 1.0)
    return timed


def test_a_short_profile_is_not_timed(home, slow):
    work = plan.make(Experiment("smoke"), ("mocov2",), execute=False)
    assert not slow
    assert list(work.seconds) == [(n, k) for n in ("hybrid", "mocov2") for k in ("training", "judging")] + [DRAWING]
    assert all(seconds is None for part, seconds in work.seconds.items() if part != DRAWING)


def test_steps_are_counted(home, slow):
    """By the profile: 600 epochs of 44 steps (5,748 digits, 128 a step), and 3 of the prior's."""
    work = plan.make(Experiment(DEMO), ("hybrid",), execute=False)
    per_epoch = len(Experiment(DEMO).images.train_images) // 128
    assert work.seconds["hybrid", "training"] == 603 * per_epoch
    assert [name for name, _ in slow] == ["representation", "prior"]
    assert sum(limit for _, limit in slow) <= 1.6 * plan.TIMED_SECONDS and slow[0][1] <= plan.TIMED_SECONDS / 2


def test_judging_takes_longer_by_the_methods_own_pace(home, slow):
    """Methods were committed from different machines: a GPU's minutes of judging said nothing of those of a CPU."""
    work = plan.make(Experiment(DEMO), ("hybrid", "mocov2"), execute=False)
    committed = paths.REPOSITORY / "results" / "demo" / "digits" / "seed0"
    for name, stages in (("hybrid", ("representation", "prior")), ("mocov2", ("representation",))):
        histories = [read_history(committed / f"{name}-{stage}.jsonl")[-1] for stage in stages]
        slower = min(last["step"] / last["seconds"] for last in histories)
        seconds = files.read_json(committed / f"{name}.json")["provenance"]["evaluation_seconds"]
        assert work.seconds[name, "judging"] == pytest.approx(seconds * slower, rel=0.01)


def test_without_labels_a_method_with_only_an_accuracy_is_left_out(home, slow):
    experiment = Experiment("smoke")
    experiment.images = replace(experiment.images, class_names=("",))
    assert plan.make(experiment, ("mocov2", "nvae"), execute=False).methods == ("hybrid", "nvae")


@pytest.mark.slow
def test_a_dry_run_makes_nothing_and_tells_what_is_there(home, capsys):
    profile = ["--profile", "smoke", "--methods", "mocov2", "--no-notebooks"]
    assert main(["reproduce", *profile, "--dry-run"]) == 0
    assert not (home / "runs").exists() and not (home / "results").exists()
    assert "MoCo-v2                    training to do, judging to do" in capsys.readouterr().out
    assert main(["train", "--profile", "smoke", "--methods", "mocov2"]) == 0
    assert main(["reproduce", *profile, "--dry-run"]) == 0
    assert "MoCo-v2                    training done, judging to do" in capsys.readouterr().out
    assert main(["evaluate", "--profile", "smoke", "--methods", "mocov2"]) == 0
    assert main(["reproduce", *profile, "--dry-run"]) == 0
    assert "MoCo-v2                    training done, judging done" in capsys.readouterr().out


@pytest.mark.slow
def test_a_checkpoint_of_another_training_is_refused_before_the_first_step(home, monkeypatch):
    """Else a reproduction would train for hours and then stop at it."""
    Experiment("smoke").model("hybrid")
    plan.make(Experiment("smoke"), ("hybrid",), execute=False)
    changed = overrides.profile("smoke,hybrid.prior.channels=16")
    monkeypatch.setattr("hybrid.experiments.experiment.profile", lambda _: replace(changed, name="smoke"))
    with pytest.raises(HybridError, match=r"prior was trained with config\.channels"):
        plan.make(Experiment("smoke"), ("hybrid",), execute=False)


def test_timed_steps_keep_to_their_time_and_the_first_is_not_timed(home, monkeypatch):
    """The first may import modules: for a few images of a large batch, half a second would make a minute."""
    experiment, now, before, calls = Experiment("smoke"), [0.0], [], []
    (stage,) = plan.unfinished(experiment, "mocov2", experiment.images).values()
    loss = stage.trainable.loss
    monkeypatch.setattr(stage.trainable, "loss", lambda *inputs: calls.append(1) or loss(*inputs))
    monkeypatch.setattr(plan.time, "monotonic", lambda: now[0])

    def timed(function, device):
        before.append(len(calls))
        function()
        now[0] += 1
        return 1.0

    monkeypatch.setattr(plan, "_timed", timed)
    for limit, wanted in ((0.0, 4), (1e9, 2 * len(plan.TIMED_IMAGES))):
        before.clear(), calls.clear()
        plan.seconds_per_step(stage, experiment.images.train_labels, limit)
        assert len(before) == wanted and before[0] == 1
    assert not (home / "runs").exists()


def test_every_method_can_be_timed(home):
    experiment = Experiment("smoke")
    for name in plan.METHODS:
        for stage in plan.unfinished(experiment, name, experiment.images).values():
            assert plan.seconds_per_step(stage, experiment.images.train_labels, 0.0) > 0
    experiment = Experiment("smoke,biggan.discriminator_steps=9")
    (stage,) = plan.unfinished(experiment, "biggan", experiment.images).values()
    assert plan.seconds_per_step(stage, experiment.images.train_labels, 0.0) > 0


def test_steps_of_each_phase_are_timed_and_count_by_its_share(home, monkeypatch):
    experiment = Experiment("smoke,hybrid.representation.early_size=16,hybrid.representation.early=.25")
    stage = next(iter(plan.unfinished(experiment, "mocov2", experiment.images).values()))
    took = {0: 1.0, 1: 4.0}

    def timed(function, device):
        """As long as ten images, and one more for each; the optimisers take as long as one."""
        function()
        images = 10 + function.__defaults__[0] if function.__defaults__ else 1
        return took[stage.trainable.phase] * images

    monkeypatch.setattr(plan, "_timed", timed)
    expected = (0.25 * 1.0 + 0.75 * 4.0) * (10 + stage.config.batch + 1)
    assert plan.seconds_per_step(stage, experiment.images.train_labels, 0.0) == pytest.approx(expected)


def test_what_is_left_follows_the_pace(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(plan.time, "monotonic", lambda: now[0])
    parts = {("hybrid", "training"): 100.0, ("hybrid", "judging"): 0, ("mocov2", "training"): 60.0, ("mocov2", "judging"): None}
    work, clock = Work(("hybrid", "mocov2"), False, parts, started=0.0), Clock()
    work.begin("hybrid", "training", clock)
    assert clock.after == 60
    now[0] = 200.0  # twice as long as planned
    work.begin("hybrid", "judging", clock)
    work.begin("mocov2", "training", clock)
    assert clock.after == 0
    assert capsys.readouterr().err.splitlines() == [
        "[1/2] Hybrid, training; at least 2.7 min left in all",
        "[2/2] MoCo-v2, training; at least 2.0 min left in all",
    ]


def test_what_is_done_is_named(home):
    """Nothing is left to train, to judge or to execute; drawing is always done again."""
    parts = {("hybrid", "training"): 0, ("hybrid", "judging"): 0, DRAWING: 20.0, plan.NOTEBOOKS: 0}
    text = plan.describe(Experiment("smoke"), Work(("hybrid",), True, parts))
    lines = [" ".join(line.split()) for line in text.splitlines()[1:]]
    assert lines[0] == "Hybrid training done, judging done" and lines[2] == "notebooks execution done"


def test_a_mixture_has_the_codes_it_needs_to_be_timed(home):
    experiment = Experiment("smoke,images=4096,plus.y.mixture=40")
    for stage in plan.unfinished(experiment, "hybridplus", experiment.images).values():
        assert plan.seconds_per_step(stage, experiment.images.train_labels, 0.1) > 0
