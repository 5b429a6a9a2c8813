"""Distributions of pairs (x, z) with known mutual information, in nats, for testing estimates.

They are multinormals, such as the correlated Gaussians of Poole et al. (2019) and Song & Ermon (2020); Student's t; and smooth
bijections of these, which do not change the mutual information (Czyz et al. 2023, whose package `bmi` agrees with the values
here). Each has the density of x, which equation (2) needs, and the best critic for equation (3). There are also pairs of digits
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
        """The mutual information I(X; Z)."""

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Sample x (count, D_x) and z (count, D_z), float32."""

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p(x): (N, D_x) -> (N,)."""

    def log_ratio(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x, z) / (p(x) p(z)) of all pairs: (n, D_x), (m, D_z) -> (n, m). This is the best possible critic."""


@dataclass(frozen=True, eq=False)
class Multinormal:
    """(x, z) ~ N(0, covariance); x is the first `dim_x` coordinates."""

    covariance: Tensor  # (D, D), positive definite
    dim_x: int

    def __post_init__(self):
        if not 0 < self.dim_x < len(self.covariance):
            raise HybridError(f"dim_x = {self.dim_x}: give 1 to {len(self.covariance) - 1}, so that x and z have coordinates")

    @cached_property
    def _blocks(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the covariances of x, of z and of both, float64."""
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
        """Return the squared Mahalanobis distances to the mean of x (n,), of z (m,) and of all pairs (n, m)."""
        inverse_x, inverse_z, inverse = (block.inverse() for block in self._blocks)
        to_z = inverse[: self.dim_x, self.dim_x :].float()
        own_x, own_z = _quadratic(x, inverse[: self.dim_x, : self.dim_x]), _quadratic(z, inverse[self.dim_x :, self.dim_x :])
        both = torch.addmm(own_z.expand(len(x), -1), x, to_z @ z.T, alpha=2).add_(own_x[:, None])
        return _quadratic(x, inverse_x), _quadratic(z, inverse_z), both


@dataclass(frozen=True, eq=False)
class Student:
    """(x, z) of Student's t with `freedom` degrees of freedom: a multinormal with each sample scaled by a random factor.

    Even if no coordinate of x is correlated with one of z, the common factor makes them dependent (Arellano-Valle et al. 2013).
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
        """Return the log density at these squared distances, in `dims` dimensions."""
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
    """x and z of `base`, each mapped by its own bijection, which does not change I(X; Z)."""

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
    """Return the map that rotates points in a plane of two coordinates by `speed` times their squared length."""

    def turn(x: Tensor, sign: int) -> Tensor:
        angle, (i, j) = sign * speed * x.square().sum(1), plane
        turned = x.clone()
        turned[:, i] = angle.cos() * x[:, i] - angle.sin() * x[:, j]
        turned[:, j] = angle.sin() * x[:, i] + angle.cos() * x[:, j]
        return turned

    return Bijection(lambda x: turn(x, 1), lambda x: turn(x, -1), _nothing)  # it keeps volumes


def paired(correlations: list[float]) -> Multinormal:
    """Return a multinormal with one coordinate of x and one of z for each correlation, correlated only with each other."""
    dims = len(correlations)
    covariance = torch.eye(2 * dims, dtype=torch.float64)
    both = torch.diag(torch.tensor(correlations, dtype=torch.float64))
    covariance[:dims, dims:] = covariance[dims:, :dims] = both
    return Multinormal(covariance, dims)


def correlated(truth: float, dims: int = 20) -> Multinormal:
    """Return Gaussians with I(X; Z) = `truth` nats, as in Poole et al.: `dims` pairs of coordinates, equally correlated."""
    return paired([math.sqrt(-math.expm1(-2 * truth / dims))] * dims)


def dense(dims: int, correlation: float = 0.5) -> Multinormal:
    """Return Czyz et al.'s dense multinormal: all pairs of coordinates of x and z have the same correlation."""
    covariance = torch.full((2 * dims, 2 * dims), correlation, dtype=torch.float64)
    return Multinormal(covariance.fill_diagonal_(1), dims)


def two_pairs(dims: int) -> Multinormal:
    """Return Czyz et al.'s "2-pair": two coordinates of x are each correlated with one of z, with a correlation of 0.8."""
    return paired([0.8, 0.8] + [0.0] * (dims - 2))


def uncorrelated_student(dims: int, freedom: int) -> Student:
    """Return Czyz et al.'s Student's t with the identity as dispersion. x still has information about the length of z."""
    return Student(paired([0.0] * dims), freedom)


def spiralled(dims: int) -> Mapped:
    """Return Czyz et al.'s two pairs after spirals, in the planes of x's first two and z's second and third coordinates."""
    return Mapped(two_pairs(dims), spiral((0, 1), 1 / dims), spiral((1, 2), 1 / dims))


# Ten of the 40 tasks of the public benchmark, by its names.
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
    """x and z are `copies` images of digits each. An image of z has the class of that of x with probability `kept`.

    The images of a class are chosen at random. An image determines its class, so I(X; Z) is that of the classes through a
    symmetric channel: copies (log 10 - H). The samples are indices into a list of images, with any number of images per class.
    """

    labels: Tensor  # int64 (N,), the classes of the images; each of 0 to 9 occurs
    kept: float = 1.0
    copies: int = 1

    @property
    def truth(self) -> float:
        wrong = 1 - self.kept
        noise = -sum(p * math.log(p) for p in [self.kept, *[wrong / 9] * 9] if p)
        return self.copies * (math.log(10) - noise)

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p of the classes of x, (N, copies) -> (N,): it replaces that of the images, as in `estimators.Namer`."""
        return torch.full((len(x),), -self.copies * math.log(10))

    def sample(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Sample indices of images, int64 (count, copies) each."""
        shape = (count, self.copies)
        classes = torch.randint(10, shape, generator=generator)
        other = (classes + torch.randint(1, 10, shape, generator=generator)) % 10
        fellows = torch.where(torch.rand(shape, generator=generator) < self.kept, classes, other)
        return self._images(classes, generator), self._images(fellows, generator)

    def _images(self, classes: Tensor, generator: Generator) -> Tensor:
        """Return the index of a random image for each of these classes (...)."""
        order, counts = self.labels.argsort(stable=True), self.labels.bincount(minlength=10)
        within = (torch.rand(classes.shape, generator=generator) * counts[classes]).long()
        return order[(counts.cumsum(0) - counts)[classes] + within]


def _quadratic(x: Tensor, matrix: Tensor) -> Tensor:
    """Return x' matrix x, (N, D) -> (N,) float32."""
    return ((x @ matrix.float()) * x).sum(1)
