"""`hybrid bounds`: estimate the paper's bounds for distributions whose mutual information is known.

The parts are: the best critic on correlated Gaussians, for m from 64 to 16,384; trained critics, decoders and hybrids on
multinormals and on the public benchmark's Student, asinh and spiral distributions, tested on the benchmark's own samples;
the same on pairs of digits; and the self-consistency tests of Song & Ermon (2020) for estimators on images.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Generator, Tensor

from hybrid import paths
from hybrid.data import known
from hybrid.data.digits import load_digits_rgb
from hybrid.data.known import DigitPairs, Known
from hybrid.errors import HybridError
from hybrid.judging.known import Estimate, barber_agakov, contrastive, contrastive_at_best, weighted
from hybrid.machine import files
from hybrid.machine.provenance import machine, provenance
from hybrid.models.base import Trainable, stream
from hybrid.models.estimators import DIM, Both, Critic, LinearGaussian, Namer, SeesImages, image_net, perceptron
from hybrid.profiles.schema import Training, describe
from hybrid.training.checkpoint import digest
from hybrid.training.loop import train

CPU = torch.device("cpu")  # the networks are too small for anything else
ALPHA = 0.5  # weight of I_BA in the hybrid: here both bounds have about the same size
TRUTHS = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0)  # mutual information of the correlated Gaussians, in nats
SIZES = (64, 256, 1024, 4096, 16384)  # m
TRAININGS = 3  # of each estimator that is trained
DRAWN = 2**17  # pairs for each m with the best critic
PAIRS, HELD_OUT = 2**17, 2**14  # pairs of vectors for training, and for testing where the benchmark has no samples
TRAINING = Training(epochs=2, batch=256, lr=2e-3)
DIGIT_PAIRS = 2**16
DIGITS_TRAINING = Training(epochs=2, batch=256, lr=2e-3)
MASKED_TRAINING = Training(epochs=4, batch=256, lr=1e-3)  # with the other, one seed of three learned nothing
BENCHMARK = paths.REPOSITORY / "results" / "bounds" / "benchmark.npz"  # made by benchmark.py in the same folder
COLUMNS = ("case", "family", "bound", "by", "m", "truth", "estimate", "error", "seed")


def bounds(seed: int = 0) -> Path:
    """Compute all rows, write them to a file with their provenance, and return its path. It takes half an hour on a core.

    The rows of trained estimators are from `TRAININGS` seeds, from `seed` on; the others are from the first.
    """
    rows = best_critics(seed)
    for each in range(seed, seed + TRAININGS):
        found = [*vectors(each), *digits(each)]
        rows += [row for row in found if each == seed or row["by"].startswith("trained")]
    kept = {
        "rows": rows,
        "consistency": [row for each in range(seed, seed + TRAININGS) for row in consistency(each)],
        "provenance": provenance(
            seed=seed,
            alpha=ALPHA,
            training=describe(TRAINING),
            digits_training=describe(DIGITS_TRAINING),
            masked_training=describe(MASKED_TRAINING),
            **machine(CPU),
        ),
    }
    files.write_json(paths.bounds() / "bounds.json", kept)
    return paths.bounds() / "bounds.json"


def read() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the saved rows and the saved `consistency`; if the home folder has none, those of the repository.

    Raises HybridError if there are none at all.
    """
    folders = paths.bounds(), BENCHMARK.parent
    kept = next((kept for folder in folders if (kept := files.read_json(folder / "bounds.json")) is not None), None)
    if kept is None:
        raise HybridError(f"{paths.bounds()} has no estimates: run hybrid bounds first")
    return pd.DataFrame(kept["rows"]), pd.DataFrame(kept["consistency"])


def best_critics(seed: int, truths: tuple[float, ...] = TRUTHS, sizes: tuple[int, ...] = SIZES) -> list[dict]:
    """Estimate I_CPC with the best critic for each m, and I_BA with a fitted linear Gaussian, on 20-dimensional Gaussians."""
    rows = []
    for truth in truths:
        pairs, generator = known.correlated(truth), _generator(seed, "best", truth)
        case = _case("correlated Gaussians, 20 + 20", "multinormal", pairs.truth, seed)
        for m in sizes:
            rows.append(case("cpc", "best critic", m, contrastive_at_best(pairs, m, DRAWN // m, generator)))
        rows.append(case("ba", "linear Gaussian", None, _linear(pairs, generator, *pairs.sample(HELD_OUT, generator))))
    return rows


def vectors(seed: int, only: tuple[str, ...] = ()) -> list[dict]:
    """Train estimators on new samples and test them on pairs of vectors.

    The benchmark's distributions are tested on its own samples with m = 64, the others on new samples with m = 256.
    """
    samples, truths = benchmark_samples()
    cases: dict[str, tuple[str, Known]] = {
        f"correlated Gaussians, {truth:g} nats": ("multinormal", known.correlated(truth)) for truth in (4.0, 10.0)
    }
    cases["cubed Gaussians, 4 nats"] = ("cube", known.Mapped(known.correlated(4.0), known.SAME, known.CUBE))
    cases |= {name: (name.split("-")[0], pairs) for name, pairs in known.BENCHMARK.items()}
    rows = []
    for name, (family, pairs) in cases.items():
        if only and name not in only:
            continue
        generator = _generator(seed, "vectors", name)
        x, z = samples[name] if name in samples else pairs.sample(HELD_OUT, generator)
        m = 64 if name in samples else 256
        case = _case(name, family, truths.get(name, pairs.truth), seed)
        rows.append(case("cpc", "best critic", m, contrastive(pairs.log_ratio, x, z, m)))
        rows.append(case("ba", "linear Gaussian", None, _linear(pairs, generator, x, z)))
        data = torch.cat(pairs.sample(PAIRS, generator), dim=1)
        critic, both = _vector_estimators(x.shape[1], z.shape[1], seed)
        critic = _trained(critic, data, TRAINING, f"{name}/critic", seed)
        rows.append(case("cpc", "trained critic", m, contrastive(critic, x, z, m)))
        both = _trained(both, data, TRAINING, f"{name}/both", seed)
        ba = barber_agakov(both.log_likelihood, pairs, x, z)
        cpc = contrastive(both.critic, x, z[:, : both.dim_y], m)
        rows.append(case("ba", "trained decoder", None, ba))
        rows.append(case("hybrid", "trained both", m, weighted(ba, cpc, ALPHA)))
    return rows


def benchmark_samples() -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, float]]:
    """Return the public benchmark's samples (x, z) and true value for each task. Raises HybridError if the file is missing."""
    arrays = files.load_arrays(BENCHMARK)
    if arrays is None:
        raise HybridError(f"{BENCHMARK} is missing or damaged: restore it, for example with git checkout")
    truths = json.loads(str(arrays["about"]))["truths"]
    return {name: tuple(torch.from_numpy(arrays[f"{name}/{part}"]) for part in "xz") for name in truths}, truths


def digits(seed: int) -> list[dict]:
    """Train critics and decoders on pairs of digits with the same class, one or two at once, and test them on unseen glyphs.

    For the hybrid, y is the upper half of each image of z, and its critic sees only that.
    """
    rows = []
    for kept, copies in ((1.0, 1), (0.8, 1), (1.0, 2)):
        name = f"{copies} digit{'s' if copies > 1 else ''}, class kept {kept:.0%}"
        pairs = _digit_pairs(seed, name, kept, copies)
        case = _case(name, "digits", pairs.held.truth, seed)
        critic = _digit_critic(seed, name, pairs)
        rows += [case("cpc", "trained critic", m, contrastive(critic, *pairs.test, m)) for m in (16, 64, 256)]
        on_y = contrastive(_digit_critic(seed, f"{name}, y", pairs, (16,)), *pairs.test, 256)
        torch.manual_seed(stream(seed, name, "decoder"))
        namer = Namer(SeesImages(pairs.bank, image_net(), (32,) * copies, 10 * copies), pairs.labels, copies)
        namer = _trained(namer, torch.cat(pairs.train, dim=1), DIGITS_TRAINING, f"{name}/decoder", seed)
        ba = barber_agakov(namer.log_likelihood, pairs.held, *pairs.test)
        rows.append(case("ba", "trained decoder", None, ba))
        rows.append(case("hybrid", "trained both", 256, weighted(ba, on_y, ALPHA)))
    return rows


def consistency(seed: int, kept: float = 0.9, m: int = 256) -> list[dict]:
    """Run Song & Ermon's three tests on pairs of digits: rows of `test`, `what`, `estimate`, `error`, `seed` and `expected`.

    Masked: a critic that sees fewer rows of z finds less, and nothing if it sees none. Data processing: z together with its
    own upper half has no more information than z. Additivity: two pairs have twice the information of one. `expected` is None
    where it is unknown.
    """
    one, rows = DigitPairs(torch.arange(10), kept).truth, []

    def add(test: str, what: str, critic: Critic, pairs: PairsOfDigits, expected: float | None) -> None:
        x, z = pairs.test
        found = contrastive(critic, x, z.repeat(1, len(critic.see_z.rows) // pairs.held.copies), m)
        estimated = {"estimate": found.value, "error": found.error}
        rows.append({"test": test, "what": what, **estimated, "expected": expected, "seed": seed})

    pairs = _digit_pairs(seed, "masked", kept, 1)
    critic = _digit_critic(seed, "masked", pairs, None, MASKED_TRAINING)
    for seen in (0, 8, 16, 24, 32):
        critic.see_z.rows = (seen,)
        add("masked", f"{seen} of 32 rows", critic, pairs, {0: 0.0, 32: one}.get(seen))
    for test, what, name, visible, copies in (
        ("data processing", "z", "one", (32,), 1),
        ("data processing", "z and its upper half", "processed", (32, 16), 1),
        ("additivity", "two pairs", "two", (32,), 2),
    ):
        pairs = _digit_pairs(seed, name, kept, copies)
        add(test, what, _digit_critic(seed, name, pairs, visible), pairs, copies * one)
    return rows


@dataclass(frozen=True)
class PairsOfDigits:
    """Pairs (x, z) of images by their indices in `bank`, to train on train glyphs and to test on others."""

    bank: Tensor  # uint8 (M, 3, 32, 32)
    labels: Tensor  # int64 (M,)
    train: tuple[Tensor, Tensor]  # (N, copies) each
    test: tuple[Tensor, Tensor]
    held: DigitPairs  # distribution of the classes of `test`


def _digit_pairs(seed: int, name: str, kept: float, copies: int) -> PairsOfDigits:
    train_images, train_labels, test_images, test_labels = load_digits_rgb()
    generator = _generator(seed, "digits", name)
    train = DigitPairs(train_labels, kept, copies).sample(DIGIT_PAIRS, generator)
    held = DigitPairs(test_labels, kept, copies)
    test = tuple(places + len(train_images) for places in held.sample(HELD_OUT // 2, generator))
    return PairsOfDigits(torch.cat([train_images, test_images]), torch.cat([train_labels, test_labels]), train, test, held)


def _digit_critic(
    seed: int,
    name: str,
    pairs: PairsOfDigits,
    rows: tuple[int, ...] | None = (32,),
    training: Training = DIGITS_TRAINING,
) -> Critic:
    """Train a critic. `rows`: the rows of z that it sees, as in `SeesImages`. If they name two images, z is seen twice."""
    torch.manual_seed(stream(seed, name))
    copies, net, repeats = pairs.held.copies, image_net(), len(rows or (32,))
    seen = None if rows is None else rows * copies
    critic = Critic(SeesImages(pairs.bank, net, (32,) * copies), SeesImages(pairs.bank, net, seen), copies)
    x, z = pairs.train
    return _trained(critic, torch.cat([x, *[z] * repeats], dim=1), training, f"{name}/critic", seed)


def _vector_estimators(dim_x: int, dim_z: int, seed: int) -> tuple[Critic, Both]:
    torch.manual_seed(stream(seed, "estimators"))
    critic = Critic(perceptron(dim_x, DIM), perceptron(dim_z, DIM), dim_x)
    return critic, Both(dim_x, dim_z, max(dim_z // 2, 1), ALPHA)


def _trained(trainable: Trainable, data: Tensor, config: Training, name: str, seed: int) -> Trainable:
    folder = paths.runs("bounds", name.replace(" ", "-").replace(",", "")) / f"seed{seed}"
    about = {"estimator": name, "config": describe(config), "seed": seed, "alpha": ALPHA, "data": digest({"pairs": data})}
    with files.sole_use(folder):
        return train(trainable, data, torch.zeros(len(data), dtype=torch.int64), config, folder, seed=seed, about=about)


def _linear(pairs: Known, generator: Generator, x: Tensor, z: Tensor) -> Estimate:
    """Estimate I_BA on (x, z) with the linear Gaussian that fits other samples best."""
    fitted = LinearGaussian(*pairs.sample(PAIRS, generator))
    return barber_agakov(fitted.log_likelihood, pairs, x, z)


def _case(name: str, family: str, truth: float, seed: int) -> Callable[..., dict]:
    """Return a function for the rows of one distribution: (bound, by, m or None, estimate) -> row.

    Under Student's t with three degrees of freedom the log q of a Gaussian has infinite variance, so the estimate has no error.
    """

    def row(bound: str, by: str, m: int | None, found: Estimate) -> dict:
        error = None if family == "student" and bound != "cpc" else found.error
        return dict(zip(COLUMNS, (name, family, bound, by, m, truth, found.value, error, seed), strict=True))

    return row


def _generator(*parts: int | str | float) -> Generator:
    return torch.Generator().manual_seed(stream(*map(str, parts)))
