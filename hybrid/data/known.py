"""Pairs (x, z) whose mutual information is known, in nats: what estimates are held against.

Multinormals, among them the correlated Gaussians of Poole et al. (2019) and Song & Ermon (2020); Student's t; and smooth
bijections of these, which keep the mutual information (Czyz et al. 2023, whose package `bmi` agrees with the values here).
Each knows the density of x, so that equation (2) can be computed, and the best critic of equation (3). Then pairs of digits
that share their class through a noisy channel (after Lee & Rhee 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Generator, Tensor

from hybrid.errors import HybridError

Map = Callable[[Tensor], Tensor]  # (N, D) -> (N, D)


class Known(Protocol):
    """A joint distribution of vectors x (D_x) and z (D_z)."""

    @property
    def dim_x(self) -> int: ...

    @property
    def truth(self) -> float:
        """I(X; Z)."""

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """x (count, D_x) and z (count, D_z), float32."""

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x): (N, D_x) -> (N,)."""

    def log_ratio(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) / (p(x) p(z)) of all pairs: (n, D_x), (m, D_z) -> (n, m). The best critic that there is."""


@dataclass(frozen=True, eq=False)
class Multinormal:
    """(x, z) ~ N(0, covariance); x is the first `dim_x` of the coordinates."""

    covariance: Tensor  # (D, D), positive definite
    dim_x: int

    def __post_init__(self):
        if not 0 < self.dim_x < len(self.covariance):
            raise HybridError(f"dim_x = {self.dim_x}: give 1 to {len(self.covariance) - 1}, so that x and z have coordinates")

    @cached_property
    def _blocks(self) -> tuple[Tensor, Tensor, Tensor]:
        """The covariances of x, of z and of both, float64."""
        both = self.covariance.double()
        return both[: self.dim_x, : self.dim_x], both[self.dim_x :, self.dim_x :], both

    @cached_property
    def truth(self) -> float:
        of_x, of_z, both = (block.logdet().item() for block in self._blocks)
        return 0.5 * (of_x + of_z - both)

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        root = torch.linalg.cholesky(self._blocks[2]).float()
        both = torch.randn(count, len(root), generator=generator) @ root.T
        return both[:, : self.dim_x], both[:, self.dim_x :]

    def log_density(self, x: Tensor) -> Tensor:
        covariance = self._blocks[0]
        return -0.5 * (_quadratic(x, covariance.inverse()) + covariance.logdet() + self.dim_x * math.log(2 * math.pi)).float()

    def log_ratio(self, x: Tensor, z: Tensor) -> Tensor:
        of_x, of_z, of_both = self.squares(x, z)
        return self.truth + 0.5 * (of_x[:, None] + of_z - of_both)

    def squares(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mahalanobis's squared distances to the mean of x (n,), of z (m,) and of all pairs (n, m)."""
        inverse_x, inverse_z, inverse = (block.inverse() for block in self._blocks)
        to_z = inverse[: self.dim_x, self.dim_x :].float()
        own_x, own_z = _quadratic(x, inverse[: self.dim_x, : self.dim_x]), _quadratic(z, inverse[self.dim_x :, self.dim_x :])
        both = torch.addmm(own_z.expand(len(x), -1), x, to_z @ z.T, alpha=2).add_(own_x[:, None])
        return _quadratic(x, inverse_x), _quadratic(z, inverse_z), both


@dataclass(frozen=True, eq=False)
class Student:
    """(x, z) of Student's t with `freedom` degrees of freedom: a multinormal, each draw stretched by a factor of chance.

    Also where no coordinate of x goes with one of z, the common factor ties them (Arellano-Valle et al. 2013).
    """

    normal: Multinormal  # its covariance is the dispersion
    freedom: int

    @property
    def dim_x(self) -> int:
        return self.normal.dim_x

    @cached_property
    def truth(self) -> float:
        both = len(self.normal.covariance)

        def f(dims: int) -> float:
            half = torch.tensor((self.freedom + dims) / 2, dtype=torch.float64)
            return (half.lgamma() - half * half.digamma()).item()

        return self.normal.truth + f(0) + f(both) - f(self.dim_x) - f(both - self.dim_x)

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        x, z = self.normal.sample(count, generator)
        chi2 = torch.randn(count, self.freedom, generator=generator).square().sum(1, keepdim=True)
        stretch = (self.freedom / chi2).sqrt()
        return stretch * x, stretch * z

    def log_density(self, x: Tensor) -> Tensor:
        dispersion = self.normal.covariance[: self.dim_x, : self.dim_x].double()
        return self._log_density(_quadratic(x, dispersion.inverse()), dispersion.logdet().item(), self.dim_x)

    def log_ratio(self, x: Tensor, z: Tensor) -> Tensor:
        of_x, of_z, of_both = self.normal.squares(x, z)
        dims, logdets = len(self.normal.covariance), [block.logdet().item() for block in self.normal._blocks]
        alone = self._log_density(of_x, logdets[0], self.dim_x)[:, None] + self._log_density(
            of_z, logdets[1], dims - self.dim_x
        )
        return self._log_density(of_both, logdets[2], dims) - alone

    def _log_density(self, squares: Tensor, logdet: float, dims: int) -> Tensor:
        """Of points at these squared distances, in `dims` dimensions."""
        half = 0.5 * (self.freedom + dims)
        constant = (
            math.lgamma(half) - math.lgamma(0.5 * self.freedom) - 0.5 * (dims * math.log(self.freedom * math.pi) + logdet)
        )
        return constant - half * torch.log1p(squares.double() / self.freedom).float()


@dataclass(frozen=True)
class Bijection:
    """A smooth one-to-one map of vectors."""

    forward: Map
    inverse: Map
    log_slope: Callable[[Tensor], Tensor]  # log |det| of the inverse's derivative: (N, D) -> (N,)


@dataclass(frozen=True, eq=False)
class Mapped:
    """x and z of `base`, each through a bijection of its own; I(X; Z) stays what it is."""

    base: Known
    x: Bijection
    z: Bijection

    @property
    def dim_x(self) -> int:
        return self.base.dim_x

    @property
    def truth(self) -> float:
        return self.base.truth

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        x, z = self.base.sample(count, generator)
        return self.x.forward(x), self.z.forward(z)

    def log_density(self, x: Tensor) -> Tensor:
        return self.base.log_density(self.x.inverse(x)) + self.x.log_slope(x)

    def log_ratio(self, x: Tensor, z: Tensor) -> Tensor:
        return self.base.log_ratio(self.x.inverse(x), self.z.inverse(z))


def _same(x: Tensor) -> Tensor:
    return x


def _nothing(x: Tensor) -> Tensor:
    return x.new_zeros(len(x))


SAME = Bijection(_same, _same, _nothing)
# Shortens heavy tails.
ASINH = Bijection(torch.asinh, torch.sinh, lambda x: torch.cosh(x).log().sum(1))
# Song & Ermon's second task: the cube of each coordinate.
CUBE = Bijection(
    lambda x: x**3,
    lambda x: x.sign() * x.abs() ** (1 / 3),
    lambda x: (-math.log(3) - 2 / 3 * x.abs().log()).sum(1),
)


def spiral(plane: tuple[int, int], speed: float) -> Bijection:
    """Turns each point in a plane of two coordinates by an angle of `speed` times its squared length, which stays."""

    def turn(x: Tensor, sign: int) -> Tensor:
        angle, (i, j) = sign * speed * x.square().sum(1), plane
        turned = x.clone()
        turned[:, i] = angle.cos() * x[:, i] - angle.sin() * x[:, j]
        turned[:, j] = angle.sin() * x[:, i] + angle.cos() * x[:, j]
        return turned

    return Bijection(lambda x: turn(x, 1), lambda x: turn(x, -1), _nothing)  # it keeps volumes


def paired(correlations: list[float]) -> Multinormal:
    """x and z of as many coordinates as there are correlations, each of x correlated with its own of z alone."""
    dims = len(correlations)
    covariance = torch.eye(2 * dims, dtype=torch.float64)
    covariance[range(dims), range(dims, 2 * dims)] = torch.tensor(correlations, dtype=torch.float64)
    return Multinormal(covariance.maximum(covariance.T), dims)


def correlated(truth: float, dims: int = 20) -> Multinormal:
    """Poole et al.'s and Song & Ermon's: `dims` coordinates, each of x equally correlated with its own of z."""
    return paired([math.sqrt(-math.expm1(-2 * truth / dims))] * dims)


def dense(dims: int, correlation: float = 0.5) -> Multinormal:
    """Czyz et al.'s: every coordinate of x and z is equally correlated with every other."""
    covariance = torch.full((2 * dims, 2 * dims), correlation, dtype=torch.float64)
    return Multinormal(covariance.fill_diagonal_(1), dims)


def two_pairs(dims: int) -> Multinormal:
    """Czyz et al.'s "2-pair": two coordinates of x go with two of z, by a correlation of 0.8."""
    return paired([0.8, 0.8] + [0.0] * (dims - 2))


def uncorrelated_student(dims: int, freedom: int) -> Student:
    """Czyz et al.'s: the dispersion is the identity, and yet x tells of z how far out it lies."""
    return Student(paired([0.0] * dims), freedom)


def spiralled(dims: int) -> Mapped:
    """Czyz et al.'s: two pairs behind spirals, in the planes of the first two of x and of the second and third of z."""
    return Mapped(two_pairs(dims), spiral((0, 1), 1 / dims), spiral((1, 2), 1 / dims))


# Of the public benchmark's 40 tasks, by its names for them: those whose truth is not another's in a disguise of the same kind.
BENCHMARK: dict[str, Known] = {
    "multinormal-dense-2-2-0.5": dense(2),
    "multinormal-dense-5-5-0.5": dense(5),
    "multinormal-sparse-3-3-2-2.0": two_pairs(3),
    "multinormal-sparse-5-5-2-2.0": two_pairs(5),
    "student-identity-3-3-3": uncorrelated_student(3, 3),
    "student-identity-5-5-3": uncorrelated_student(5, 3),
    "asinh-student-identity-3-3-2": Mapped(uncorrelated_student(3, 2), ASINH, ASINH),
    "asinh-student-identity-5-5-2": Mapped(uncorrelated_student(5, 2), ASINH, ASINH),
    "spiral-multinormal-sparse-3-3-2-2.0": spiralled(3),
    "spiral-multinormal-sparse-5-5-2-2.0": spiralled(5),
}


@dataclass(frozen=True, eq=False)
class DigitPairs:
    """x and z are each `copies` images of digits; each of z has its fellow's class in x with probability `kept`, else another.

    Which image of a class is shown is chance. An image tells its class for sure, so that I(X; Z) is that of the classes
    through a symmetric channel: copies (log 10 - H). `images` are places in a list of images, of any number a class.
    """

    labels: Tensor  # int64 (N,), the classes of the images, 0 to 9, all of them there
    kept: float = 1.0
    copies: int = 1

    @property
    def truth(self) -> float:
        wrong = 1 - self.kept
        noise = -sum(p * math.log(p) for p in [self.kept, *[wrong / 9] * 9] if p)
        return self.copies * (math.log(10) - noise)

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Places of images, int64 (count, copies) each."""
        shape = (count, self.copies)
        classes = torch.randint(10, shape, generator=generator)
        other = (classes + torch.randint(1, 10, shape, generator=generator)) % 10
        fellows = torch.where(torch.rand(shape, generator=generator) < self.kept, classes, other)
        return self._images(classes, generator), self._images(fellows, generator)

    def _images(self, classes: Tensor, generator: Generator) -> Tensor:
        """A random image of each of these classes (...)."""
        order, counts = self.labels.argsort(stable=True), self.labels.bincount(minlength=10)
        within = (torch.rand(classes.shape, generator=generator) * counts[classes]).long()
        return order[(counts.cumsum(0) - counts)[classes] + within]


def _quadratic(x: Tensor, matrix: Tensor) -> Tensor:
    """x' matrix x, (N, D) -> (N,) float32."""
    return ((x @ matrix.float()) * x).sum(1)
