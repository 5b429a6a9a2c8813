"""The command line, `hybrid`.

Results go to standard output, progress and warnings to standard error. hybrid COMMAND --help shows examples;
hybrid --version prints the version.

Exit status: 0 done; 2 wrong input, explained in one line; 75 stopped by the time limit; 130 and 143 stopped by Ctrl-C or
SIGTERM. After 75, 130 or 143, the same command continues; one that keeps nothing on the way starts again.

Shell completion: hybrid --tyro-print-completion bash > ~/.local/share/bash-completion/completions/hybrid (or zsh, tcsh);
make that folder first, with mkdir -p.
"""

# Commands import what they need when they run, so that the help appears at once.

from __future__ import annotations

import contextlib
import contextvars
import difflib
import inspect
import json
import logging
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from hybrid import __version__, paths
from hybrid.errors import HybridError, TimeUp

if TYPE_CHECKING:
    from hybrid.experiments.experiment import Experiment

STOPPED = 75  # exit status of a run stopped by its time limit; the same command continues it (EX_TEMPFAIL in sysexits.h)


def reproduce(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] | None = None,
    time_limit: float | None = None,
    notebooks: bool = True,
    jobs: int | None = None,
    dry_run: bool = False,
    strict: bool = False,
) -> None:
    """Train and judge the methods of a profile, then make the figures, the table, the notebooks and an HTML report.

    Finished work is not repeated, and an interrupted run continues.

    For example:
        hybrid reproduce
        hybrid reproduce --profile laptop --dataset cifar10 --methods hybrid mocov2
        hybrid reproduce --dataset my/folder --dry-run

    Args:
        profile: demo, laptop, gpu, paper or smoke; change a field with a comma: laptop,hybrid.representation.training.epochs=6
        dataset: digits, cifar10, cifar100, an .npz or a folder; if omitted: the profile's data set.
        seed: seed for weights, batches and samples.
        methods: any of hybrid, hybridplus, mocov2, nvae, ddim, biggan, contrast_on_z, and always the hybrid; if omitted: all.
        time_limit: stop at a checkpoint after this many seconds, with exit status 75.
        notebooks: also execute the notebooks.
        jobs: number of methods to train at the same time; if omitted: 2 on a CPU with two or more cores, else 1.
        dry_run: only print what is finished, what remains and how long that will take; needs the data set, and may download it.
        strict: refuse saved results of other code or another precision, instead of printing a line about them.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.machine.precision import in_words
    from hybrid.training.loop import Clock
    from hybrid.workflows import expected, plan
    from hybrid.workflows.reproduce import reproduce

    _set_strict(strict)
    wanted = _checked(methods)
    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    _print_progress(in_words(experiment.device))
    work = plan.make(experiment, wanted, notebooks)
    print(plan.describe(experiment, work), file=sys.stdout if dry_run else sys.stderr, flush=True)
    if not dry_run:
        report = reproduce(experiment, work, jobs)
        if compared := expected.compare(experiment, work.methods):
            print(f"{expected.formatted(compared)}\n{expected.verdict(compared)}")
        print(f"report: {report}")


def train(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] | None = None,
    time_limit: float | None = None,
    log: Literal["pictures", "tensorboard"] | None = None,
    strict: bool = False,
) -> None:
    """Train methods, or continue interrupted trainings.

    For example:
        hybrid train --dataset my/folder --methods hybrid
        hybrid train --profile laptop --dataset cifar10 --seed 1 --time-limit 3600
        hybrid train --log tensorboard

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed for weights and batches.
        methods: only these, by the names in `hybrid reproduce --help`; if omitted: all.
        time_limit: stop at a checkpoint after this many seconds, with exit status 75.
        log: pictures: after each epoch write reconstructions and samples as .png to watched/ in the stage's folder;
            tensorboard: also log them, the losses and the nearest-neighbour accuracy for tensorboard --logdir runs
        strict: see `hybrid reproduce --help`.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.machine.precision import in_words
    from hybrid.training.loop import Clock
    from hybrid.workflows.watching import Watch

    _set_strict(strict)
    wanted = _checked(methods)
    experiment = Experiment(profile, dataset, seed, Clock(time_limit), watch=Watch(log) if log else None)
    _print_progress(in_words(experiment.device))
    for name in wanted:
        experiment.model(name)
        print(f"trained: {experiment.run(name).folder}")


def evaluate(
    profile: str = "demo",
    dataset: str | None = None,
    seed: int = 0,
    methods: tuple[str, ...] | None = None,
    json: bool = False,
    strict: bool = False,
) -> None:
    """Judge methods on the test set and print the numbers with their units. Methods that are not trained yet are trained first.

    Numbers that are already in results/, such as those that come with the repository, are only read. A line on standard error
    names their file and says how to measure again: train first, where there are no weights, else move the file away.

    For example:
        hybrid evaluate --methods hybrid
        hybrid evaluate --profile laptop --dataset cifar10 --json

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed for weights, batches and samples.
        methods: only these, by the names in `hybrid reproduce --help`; if omitted: all.
        json: print the numbers as JSON, by method, without units.
        strict: see `hybrid reproduce --help`.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.experiments.methods import method
    from hybrid.experiments.table import unconverged, unit

    _set_strict(strict)
    experiment, found = Experiment(profile, dataset, seed), {}
    for name in _checked(methods):
        if (kept := experiment.kept_outcome(name)) is not None:
            _print_progress(_read_from(experiment, name, kept["provenance"].get("commit")))
        outcome = experiment.metrics(name) if kept is None else kept
        found[name] = outcome["metrics"]
        if not json:
            print(f"{method(name).title}, {experiment.profile.name}, {experiment.slug}, seed {seed}")
            for metric, value in found[name].items():
                print(f"  {metric:28} {value:10.3f}  {unit(metric)}".rstrip())
            if words := unconverged(outcome):
                print(f"  {words}")
    if json:
        _print_json(found)


def sample(run: Path, out: Path, count: int = 64, steps: int = 50, eta: float = 0.0, seed: int = 0) -> None:
    """Sample new images from a trained hybrid. A line on standard error says by what: the paper's DDIM on z, or Hybrid+.

    The same command gives the same images. For others, give another --seed.

    For example:
        hybrid sample --run cifar10 --out new.png
        hybrid sample --run runs/demo/digits/hybrid/seed0 --out new.npz --count 1000
        hybrid sample --run runs/demo/digits/hybridplus/seed0 --out other.png --seed 1

    Args:
        run: released weights, such as cifar10, which sample by Hybrid+, or a run's folder: runs/demo/digits/hybrid/seed0
            samples by the DDIM on z, runs/demo/digits/hybridplus/seed0 by Hybrid+
        out: a .png (a grid with eight columns, each image enlarged to 128 x 128) or an .npz (images, uint8, N x 32 x 32 x 3).
        count: number of images.
        steps: number of steps of the DDIM sampler.
        eta: 0 for the deterministic sampler, 1 for the ancestral one.
        seed: seed for the noise; the same seed gives the same images.
    """
    from hybrid.data import pixels
    from hybrid.machine.files import save_arrays
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model
    from hybrid.showing.figures import save_png

    if count < 1:
        raise HybridError(f"count = {count}: give 1 or more")
    _check_out(out, ".png", ".npz")
    _check_sampling(seed, eta)
    model = open_model(run, best_device())
    if model.sampler:
        _print_progress(f"sampling by {model.sampler}, seed {seed}")
    images = pixels.to_uint8(model.sample(count, steps, eta, seed))
    if out.suffix == ".npz":
        save_arrays(out, {"images": images.permute(0, 2, 3, 1).cpu().numpy()})
    else:
        save_png(out, images, 8)
    print(f"samples: {out}")


def interpolate(run: Path, start: Path, end: Path, out: Path, part: Literal["z", "y", "w"] = "z", frames: int = 9) -> None:
    """Draw a path between two images of your own, along which the whole code moves, only y, or only w.

    For example:
        hybrid interpolate --run cifar10 --start a.jpg --end b.jpg --out path.png
        hybrid interpolate --run cifar10 --start a.jpg --end b.jpg --out path.png --part w

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        start: an image file, for t = 1; its middle square is used.
        end: an image file, for t = 0; its middle square is used.
        out: a .png: one row of images, each enlarged to 128 x 128.
        part: the part of the code that moves.
        frames: number of images on the path, with both ends.
    """
    import torch

    from hybrid.data import pictures, pixels
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model
    from hybrid.showing.figures import save_png

    _check_out(out, ".png")
    if frames < 2:
        raise HybridError(f"frames = {frames}: give 2 or more, because they include both ends")
    x0, x1 = (pictures.read_image(path)[None] for path in (start, end))  # (1, 32, 32, 3)
    path = open_model(run, best_device()).interpolate(x0, x1, torch.linspace(1, 0, frames), part)[0]
    save_png(out, pixels.to_uint8(path), frames)
    print(f"path: {out}")


def embed(run: Path, images: tuple[str, ...], out: Path, part: tuple[Literal["y", "w", "z"], ...] = ("y",)) -> None:
    """Write the codes of images, a row per image: its file, its split and class if known, and y, w or z.

    Images can have any size: the middle square is resized to 32 x 32. An interrupted command continues when you repeat it.

    For example:
        hybrid embed --run cifar10 --images my/folder --out codes.csv
        hybrid embed --run cifar10 --images a.jpg b.png --out codes.npz --part y w
        find . -name "*.jpg" | hybrid embed --run cifar10 --images - --out codes.parquet

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        images: a folder (flat, nested, or with train/ and test/), image files, an .npz, the name of a data set, a .txt with
            one file per line, or - to read such lines from standard input.
        out: an .npz, which `hybrid neighbours` can search, a .csv or a .parquet.
        part: y, for classification (768 numbers); w, the details (768); z, both (1536).
    """
    from hybrid.data.sources import source
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model
    from hybrid.workflows import embed

    embed.check(out)
    if not part:
        raise HybridError("part is empty: give one or more of y, w, z")
    print(embed.embed(open_model(run, best_device()), source(images), out, tuple(dict.fromkeys(part))))


def probe(
    run: Path,
    dataset: str,
    out: Path | None = None,
    part: Literal["y", "w", "z"] = "y",
    seed: int = 0,
    json: bool = False,
) -> None:
    """Classify labelled images from a frozen hybrid's y, w and z, with a linear probe and with nearest neighbours.

    Both learn from the train images of the data set; the accuracies are those on its test images. Without train/ and test/, a
    fifth of each class is the test set. The folder --out gets the numbers, probe.json and probe.txt, and two figures: the
    confusion matrix, and some test images with their nearest train images.

    For example:
        hybrid probe --run cifar10 --dataset my/folder
        hybrid probe --run cifar10 --dataset digits --out probed --json

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        dataset: digits, cifar10, cifar100, an .npz, or a folder with a folder per class, directly or in train/ and test/.
        out: a folder; if omitted: probe-<data set>.
        part: the part of the code for the confusion matrix and the figures; the accuracies are always of all three.
        seed: seed for the train images that choose the probe's penalty, and for the test images in the figure.
        json: print the numbers as JSON.
    """
    from hybrid.data import datasets
    from hybrid.machine.precision import best_device
    from hybrid.machine.provenance import machine, provenance
    from hybrid.released import open_model
    from hybrid.workflows import probe

    model, images = open_model(run, best_device()), datasets.load(dataset)
    found = probe.probe(model, images, part, seed)
    about = {"run": str(run), "dataset": images.name, "sha256": images.sha256, "seed": seed}
    folder = probe.write(found, out or Path(f"probe-{images.name}"), provenance(**machine(model.device), **about))
    if json:
        _print_json(found.as_json())
    else:
        print(f"{images!r}\n{found}\npictures: {folder}")


def neighbours(
    run: Path,
    query: Path,
    images: tuple[str, ...],
    out: Path = Path("neighbours.png"),
    part: Literal["y", "w", "z"] = "y",
    count: int = 8,
    json: bool = False,
) -> None:
    """Find and draw the images whose codes are nearest to that of a query image, nearest first.

    Prints the cosine similarity of the standardised codes (1: equal), the file and its class, if known. The query itself is
    left out. The figure needs the image files, also where codes are searched.

    For example:
        hybrid neighbours --run cifar10 --query cat.jpg --images my/folder
        hybrid embed --run cifar10 --images my/folder --out codes.npz
        hybrid neighbours --run cifar10 --query cat.jpg --images codes.npz --count 20

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        query: an image file of any size; its middle square is used.
        images: the images to search, see `hybrid embed --help`, or an .npz of codes that `hybrid embed` wrote with this
            --run and this --part.
        out: the figure, a .png; a .pdf with the same name is written too.
        part: the part of the code to compare: y, for classification; w, the details; z, both.
        count: number of images to find; the figure shows up to 200 of them.
        json: print files and similarities as JSON.
    """
    from hybrid.machine.precision import best_device
    from hybrid.released import open_model
    from hybrid.workflows import neighbours

    _check_out(out, ".png")
    found, searched = neighbours.search(open_model(run, best_device()), query, images, part, count)
    neighbours.draw(found, searched, out)
    if json:
        _print_json(found.as_json())
    else:
        print(f"{found}\npicture: {out}")


def diagnose(
    run: Path,
    dataset: str = "",
    out: Path = Path("diagnosis.png"),
    count: int = 2000,
    steps: int = 50,
    eta: float = 0.0,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Diagnose a hybrid's code and prior: spectra, losses compared with those of Gaussians, power of samples, distances.

    For example:
        hybrid diagnose --run cifar10 --out diagnosis.png
        hybrid diagnose --run runs/demo/digits/hybrid/seed0 --count 500

    Args:
        run: released weights, such as cifar10, or a run's folder, such as runs/demo/digits/hybrid/seed0
        dataset: the run's data set: digits, cifar10, cifar100, an .npz or a folder; if omitted: the one that --run names.
        out: the figure, a .png; a .pdf and the tables, a .md, with the same name are written too.
        count: number of test images, and of samples.
        steps: number of steps of the DDIM sampler.
        eta: 0 for the deterministic sampler, 1 for the ancestral one.
        seed: seed for the noise.
        json: print the tables as JSON.
    """
    from hybrid.data import datasets
    from hybrid.judging.diagnose import diagnose
    from hybrid.machine.files import write_text
    from hybrid.machine.precision import best_device
    from hybrid.released import names, open_model
    from hybrid.showing import diagnosis, figures

    _check_out(out, ".png")
    _check_sampling(seed, eta)
    if count < 2:
        raise HybridError(f"count = {count}: give 2 or more")
    model = open_model(run, best_device())
    name = dataset or (str(run) if str(run) in names() else run.resolve().parents[1].name)
    found = diagnose(model, datasets.load(name, paths.data()).to(model.device), count, steps, eta, seed)
    tables = diagnosis.markdown(found)
    write_text(out.with_suffix(".md"), tables + "\n")
    figures.save_figure(diagnosis.draw(found), out.with_suffix(""))
    if json:
        _print_json(diagnosis.as_json(found))
    else:
        print(f"{tables}\npicture: {out}")


def release(profile: str = "laptop", dataset: str | None = None, seed: int = 0) -> None:
    """Export a trained hybrid as released weights with a model card, for `hybrid.pretrained`.

    For example:
        hybrid release --profile laptop --dataset cifar10

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed of the run.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.workflows.release import release

    print(f"weights: {release(Experiment(profile, dataset, seed))}")


def data(dataset: str = "digits") -> None:
    """Load a data set, download it if necessary, and describe it as JSON: counts, classes, mean and deviation per channel.

    The numbers of images per class are those of the smallest and the largest class. Without labels there are none.

    For example:
        hybrid data --dataset cifar10
        hybrid data --dataset my/folder

    Args:
        dataset: digits, cifar10, cifar100, an .npz or a folder.
    """
    from hybrid.data.datasets import describe, load

    _print_json(describe(load(dataset)))


def explain(path: tyro.conf.Positional[Path], cell: tuple[str, str] | None = None) -> None:
    """Explain the origin of a file: command, commit, data, weights, precision, device, and how to make it again.

    For example:
        hybrid explain results/laptop/cifar10/seed0/figure3.png
        hybrid explain results/laptop/cifar10/table1.md --cell BigGAN accuracy

    Args:
        path: a figure, table, outcome or history in results/, a checkpoint, or released weights.
        cell: a method and a metric, to explain one number of a table: their names, such as hybrid acc, or their headings.
    """
    from hybrid.workflows.explain import explain

    print(explain(path, cell))


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
    stage: Literal["representation", "prior", "plus"] = "representation",
    run: Path | None = None,
    out: Path | None = None,
    time_limit: float | None = None,
) -> None:
    """Train a stage of the hybrid on nine tenths of the train set, judge it without the test set, and log the results.

    The first stage and a prior's losses are judged on the other tenth. A prior's samples are compared with the nine tenths.

    For example:
        hybrid screen --profile laptop,hybrid.representation.training.epochs=3,hybrid.representation.contrast.temperature=0.2
        hybrid screen --stage prior --run cifar10 --dataset cifar10

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed for weights and batches.
        stage: representation, the first stage; prior, the DDIM on z; plus, Hybrid+'s p(y) and p(w | y).
        run: for a prior: released weights, such as cifar10, or a run's folder, whose codes it is trained on; if omitted: train
            the profile's first stage on the nine tenths, once for all priors.
        out: the log, a .jsonl; if omitted: results/bench/screen.jsonl.
        time_limit: stop at a checkpoint after this many seconds, with exit status 75.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.training.loop import Clock
    from hybrid.workflows.screen import screen

    log = out or paths.bench() / "screen.jsonl"
    line = screen(Experiment(profile, dataset, seed, Clock(time_limit)), log, stage, run)
    print(json.dumps({key: value for key, value in line.items() if key != "provenance"}))


def expect(profile: str = "demo", dataset: str | None = None, seed: int = 0) -> None:
    """Add a run's numbers to the repository's results/, as a reference for later runs.

    For example:
        hybrid expect --profile laptop --dataset cifar10 --seed 1

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed of the run.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.workflows import expected

    print(f"expected: {expected.add(Experiment(profile, dataset, seed))}")


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
        run: released weights, such as cifar10, or a run's folder, of that profile; if omitted: the profile's first stage.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.showing import factors as showing
    from hybrid.showing import figures
    from hybrid.workflows.factors import factors, folder

    experiment = Experiment(profile, dataset, seed)
    rows = factors(experiment, run)
    print(showing.table(rows).round(2))
    picture = folder(experiment) / f"seed{seed}"
    figures.save_figure(showing.draw({f"{profile}, {experiment.slug}": rows}), picture)
    print(f"picture: {picture}.png")


def tradeoff(
    profile: str = "demo", dataset: str | None = None, seed: int = 0, ends: bool = False, time_limit: float | None = None
) -> None:
    """Train and judge the hybrid's first stage for several alpha from 0 to 1, and with 1 to 6 channels in y: many trainings.

    For example:
        hybrid tradeoff --profile demo --time-limit 3000

    Args:
        profile: see `hybrid reproduce --help`.
        dataset: see `hybrid reproduce --help`.
        seed: seed for weights and batches.
        ends: train only MoCo-v2, the profile's own setting, the autoencoder alone and the contrast on all of z.
        time_limit: stop at a checkpoint after this many seconds, with exit status 75.
    """
    from hybrid.experiments.experiment import Experiment
    from hybrid.showing import figures
    from hybrid.showing import tradeoff as showing
    from hybrid.training.loop import Clock
    from hybrid.workflows import tradeoff

    experiment = Experiment(profile, dataset, seed, Clock(time_limit))
    path = tradeoff.tradeoff(experiment, ends)
    rows = tradeoff.read(path.stem, profile)
    print(rows.round(3).to_string())
    figures.save_figure(showing.draw(rows), path.with_suffix(""))
    print(f"trade-off: {path}")


COMMANDS = (
    *(reproduce, train, evaluate, sample, interpolate, embed, probe, neighbours),
    *(diagnose, release, data, explain, bench, screen, expect, bounds, factors, tradeoff),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 2, 75, 130 or 143 (see the module's docstring).

    Every status except 0 comes with one line on standard error. If torchrun starts several processes, only the first one
    prints results, but each one prints its own errors.
    """
    logging.basicConfig(format="%(message)s")
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["--version"]:
        print(f"hybrid {__version__}")
        return 0
    # The help of hybrid has one line per command; the help of a command has the rest.
    commands = {command.__name__: _deferred(command, brief=given in ([], ["-h"], ["--help"])) for command in COMMANDS}
    if (wrong := _unknown_command(given, tuple(commands)) or _named_place(given)) is not None:
        print(f"hybrid: {wrong}", file=sys.stderr)
        return 2
    command = tyro.extras.subcommand_cli_from_dict(commands, prog="hybrid", description=__doc__, args=arguments)
    is_first, started = True, False
    try:
        with signals():
            from hybrid.machine import distributed

            distributed.start()
            started = True
            is_first = distributed.rank() == 0
            with contextlib.nullcontext() if is_first else contextlib.redirect_stdout(None):
                contextvars.copy_context().run(command)  # what it sets, such as strict, ends with it
    except TimeUp as stop:
        if is_first:
            print(stop, file=sys.stderr)
        return STOPPED
    except Interrupted as stop:
        if is_first:
            print(f"{stop}; {_kept(command)}", file=sys.stderr)
        return stop.status
    except HybridError as error:
        print(f"hybrid: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"hybrid: {error.filename} cannot be used ({error.strerror}): change its permissions", file=sys.stderr)
        return 2
    finally:
        if started:
            distributed.stop()
    return 0


class Interrupted(BaseException):
    """A signal, such as Ctrl-C's, asks the command to end."""

    def __init__(self, number: int):
        self.status = 128 + number  # the convention of shells
        super().__init__(f"hybrid: stopped by {signal.Signals(number).name}")


def _kept(command: partial) -> str:
    """Say what a stopped command leaves, and what the same command does next."""
    name = command.func.__name__
    if name == "embed":
        from hybrid.workflows.embed import kept_in

        folder = kept_in(inspect.signature(command.func).bind(*command.args, **command.keywords).arguments["out"])
        return f"finished codes are in {folder}; the same command continues from there, then removes it"
    if name in (trains.__name__ for trains in (reproduce, train, evaluate, release, screen, bounds, factors, tradeoff)):
        return (
            f"finished work is in {paths.home()}, with a checkpoint of a running training from the last minute; "
            "the same command continues from there"
        )
    return "nothing was kept; the same command starts again"


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM raise Interrupted, once. A second signal ends the process at once."""

    def interrupt(number: int, _) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # shells let background jobs ignore Ctrl-C
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _deferred(command: Callable[..., None], brief: bool) -> Callable[..., Callable[[], None]]:
    """Return a function that takes the command's arguments and returns a call to run later. If `brief`, its help is a line."""
    deferred = wraps(command)(lambda *arguments, **named: partial(command, *arguments, **named))
    text = inspect.getdoc(command) or ""
    # Each option's meaning on one line: completion in bash would offer the words of a second line.
    deferred.__doc__ = text.partition("\n")[0] if brief else re.sub(r"\n {8}(?=\S)", " ", text)
    deferred.__signature__ = inspect.signature(command)  # type: ignore[attr-defined]
    del deferred.__wrapped__  # tyro would read the original docstring
    return deferred


def _unknown_command(arguments: list[str], commands: tuple[str, ...]) -> str | None:
    """Return an error message if the first argument is neither a command nor an option, else None."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in commands:
        return None
    near = difflib.get_close_matches(arguments[0], commands, n=1)
    meant = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(commands)}"
    return f"{arguments[0]!r} is not a command: {meant}"


def positional(command: Callable[..., None]) -> list[str]:
    """Return the names of the arguments that a command takes by their place, without --name."""
    return [name for name, each in inspect.signature(command).parameters.items() if "Positional[" in str(each.annotation)]


def _named_place(arguments: list[str]) -> str | None:
    """Return a hint if an argument that has a place is given as an option, else None."""
    for command in COMMANDS:
        for name in positional(command) if arguments[:1] == [command.__name__] else ():
            if any(each.partition("=")[0] == f"--{name}" for each in arguments):
                return f"--{name} is not an option: give {name.upper()} alone, as in hybrid {command.__name__} {name.upper()}"
    return None


def _checked(methods: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the methods, by default all. Raises HybridError for a wrong name, before anything is trained."""
    from hybrid.experiments.methods import METHODS, method

    if methods is not None and not methods:
        raise HybridError(f"methods is empty: choose among {', '.join(METHODS)}, or omit the option for all")
    return tuple(METHODS) if methods is None else tuple(method(name).name for name in methods)


def _read_from(experiment: Experiment, name: str, commit: str | None) -> str:
    """Say where a saved outcome comes from, and how to measure it again."""
    path = experiment.outcomes / f"{name}.json"
    options = shlex.join(
        ["--profile", experiment.profile.name, "--dataset", experiment.dataset, "--seed", str(experiment.seed)]
    )
    again = "move that file away" if experiment.is_trained(name) else f"train first (hybrid train {options} --methods {name})"
    measured = f"measured at commit {commit[:12]}" if commit else "measured by code whose commit was not recorded"
    return f"read from {path}, {measured}; to measure again: {again}"


def _set_strict(strict: bool) -> None:
    from hybrid.machine import fingerprint

    fingerprint.strict.set(strict)


def _check_out(out: Path, *endings: str) -> None:
    """Raise HybridError if the result cannot be written to `out`, before anything is computed."""
    if out.suffix not in endings:
        raise HybridError(f"out = {str(out)!r} has no known ending: expected {' or '.join(endings)}")
    if out.is_dir():
        raise HybridError(f"out = {str(out)!r} is a folder: give the name of a file in it")


def _check_sampling(seed: int, eta: float) -> None:
    from hybrid.profiles.schema import whole_seed

    whole_seed(seed)
    if not 0 <= eta <= 1:
        raise HybridError(f"eta = {eta}: give a value from 0 (DDIM) to 1 (DDPM)")


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, default=float))


if __name__ == "__main__":
    sys.exit(main())
