"""Commands that study the method: its speed, its settings, its bounds and its codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from hybrid import paths


def bench(
    out: Path | None = None,
    seconds: float = 30.0,
    pairs: tuple[str, ...] = (),
    profile: str = "laptop",
    fid_images: int = 5000,
    quick: bool = False,
) -> None:
    """Compare the speed of this package with that of alternatives, and write a table and a plot.

    For example:
        hybrid bench
        hybrid bench --pairs hybrid_step augmentation --seconds 10 --out bench

    Args:
        out: a folder; if omitted: results/bench.
        seconds: approximate time for each pair.
        pairs: names of the comparisons; if omitted: all.
        profile: the profile with the networks and batch sizes to use.
        fid_images: number of images for the Fréchet distance, which takes the longest time by far.
        quick: run every line on tiny inputs; the numbers mean nothing.
    """
    from hybrid.benchmark.run import bench

    table = bench(out or paths.bench(), seconds, pairs, profile, fid_images, quick)
    print(f"table: {table}")


def screen(
    profile: str = "laptop,hybrid.representation.training.epochs=3",
    dataset: str | None = None,
    seed: int = 0,
    stage: Literal["representation", "prior", "plus", "nvae", "ddim", "biggan"] = "representation",
    run: Path | None = None,
    out: Path | None = None,
    time_limit: float | None = None,
) -> None:
    """Train a stage of the hybrid, or a baseline, on nine tenths of the train set, judge it without the test set, and log it.

    Accuracies, errors and a prior's losses are those on the other tenth. Samples are compared with the nine tenths.

    For example:
        hybrid screen --profile laptop,hybrid.representation.training.epochs=3,hybrid.representation.contrast.temperature=0.2
        hybrid screen --stage prior --run cifar10 --dataset cifar10
        hybrid screen --stage biggan --profile laptop,biggan.training.lr=1e-4,biggan.training.epochs=5

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed for weights and batches.
        stage: representation, the first stage; prior, the DDIM on z; plus, Hybrid+'s p(y) and p(w | y); or a baseline.
        run: for prior and plus: the encoder, as released weights, such as cifar10, or a run's folder; if omitted: train
            the profile's first stage on the nine tenths, once for all priors.
        out: the log, a .jsonl; if omitted: results/bench/screen.jsonl.
        time_limit: stop at a checkpoint after this many seconds, with exit status 75.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.machine.files import check_out
    from hybrid.training.loop import Clock
    from hybrid.workflows.screen import screen

    log = out or paths.bench() / "screen.jsonl"
    check_out(log, ".jsonl")
    line = screen(Experiment(profile, dataset, seed, Clock(time_limit)), log, stage, run)
    print(json.dumps({key: value for key, value in line.items() if key != "provenance"}))


def bounds(seed: int = 0) -> None:
    """Test the paper's bounds on distributions with known mutual information, and plot the estimates against the truth.

    For example:
        hybrid bounds

    Args:
        seed: seed for samples, weights and batches.
    """
    from hybrid.judging.known import claims
    from hybrid.showing import bounds as showing
    from hybrid.showing import figures
    from hybrid.workflows import bounds

    path = bounds.bounds(seed)
    rows, consistency = bounds.read()
    print(f"{showing.table(rows)}\n{consistency.round(2)}")
    for words, holds in claims(rows).items():
        print(f"{'yes' if holds else 'NO '}  {words}")
    figures.save_figure(showing.draw(rows), path.with_suffix(""))
    print(f"estimates: {path}")


def factors(profile: str = "demo", dataset: str | None = None, seed: int = 0, run: Path | None = None) -> None:
    """Measure what y, w and z keep about an image, with linear probes for its class, colours, texture and position.

    For example:
        hybrid factors --profile laptop --dataset cifar10 --run cifar10

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed of the run, and of the images held out to choose penalties.
        run: released weights, such as cifar10, or a run's folder, of that profile; if omitted: the profile's first stage and,
            for comparison, its MoCo-v2.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.showing import factors as showing
    from hybrid.showing import figures
    from hybrid.workflows.factors import factors, folder

    experiment = Experiment(profile, dataset, seed)
    rows = factors(experiment, run)
    print(showing.table(rows).round(2).to_string(na_rep="–"))
    picture = folder(experiment) / f"seed{seed}"
    figures.save_figure(showing.draw({f"{profile}, {experiment.slug}": rows}), picture)
    print(f"picture: {picture}.png")


def tradeoff(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    rows: Literal["all", "ends", "contrast"] = "all",
    time_limit: float | None = None,
) -> None:
    """Train and judge the hybrid's first stage with several alpha, 1 to 5 channels in y, and the contrast on all of z.

    For example:
        hybrid tradeoff --profile demo --time-limit 3000

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed for weights and batches.
        rows: "ends" trains only MoCo-v2, the profile's own setting, the autoencoder alone and the contrast on all of z;
            "contrast" only the profile's own setting and the contrast on all of z, and draws them by the length of training.
        time_limit: stop at a checkpoint after this many seconds, with exit status 75.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.showing import figures
    from hybrid.showing import tradeoff as showing
    from hybrid.training.loop import Clock
    from hybrid.workflows import tradeoff

    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    path = tradeoff.tradeoff(experiment, rows)
    found = tradeoff.read(path.stem, profile, experiment.profile.hybrid.representation)
    print(found.round({name: 3 for name in found if name != "alpha"}).to_string())
    figure = showing.draw_lengths(tradeoff.saved_lengths(experiment)) if rows == "contrast" else showing.draw(found)
    figures.save_figure(figure, path.with_suffix(""))
    print(f"trade-off: {path}")
