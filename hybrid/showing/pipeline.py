"""A drawing of the pipeline, as in Figure 1 of the paper."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

IMAGE, NET, Y, W = "#e8edf5", "#ffffff", "#f6c58f", "#a9cce3"


def draw() -> Figure:
    """Draw (a) autoencoder and contrast on y; (b) the DDIM on the frozen z."""
    figure, axis = plt.subplots(figsize=(9, 3.9), layout="constrained")
    axis.set(xlim=(0, 18), ylim=(-3.3, 4.5))
    axis.axis("off")

    # (a)
    axis.text(0, 4.1, "(a) two bounds, one code", weight="bold", fontsize=10)
    _box(axis, 0.1, 0.2, 1.7, 1.7, "x\n3×32×32", IMAGE)
    _box(axis, 2.7, 0.5, 2.3, 1.1, "encoder f", NET)
    _box(axis, 6.0, 1.05, 1.9, 1.05, "y  3×16×16", Y)
    _box(axis, 6.0, 0.0, 1.9, 1.05, "w  3×16×16", W)
    _box(axis, 9.0, 0.5, 2.3, 1.1, "decoder q(x|z)", NET)
    _box(axis, 12.3, 0.2, 1.7, 1.7, "x'", IMAGE)
    for start, end in (
        ((1.8, 1.05), (2.7, 1.05)),
        ((5.0, 1.05), (6.0, 1.05)),
        ((7.9, 1.05), (9.0, 1.05)),
        ((11.3, 1.05), (12.3, 1.05)),
    ):
        _arrow(axis, start, end)
    _box(axis, 9.0, 2.6, 2.3, 1.0, "head, critic g", NET)
    _arrow(axis, (6.95, 2.1), (9.0, 3.1), bend=-0.25)
    _box(axis, 2.7, 2.6, 2.9, 1.0, "momentum encoder", NET)
    _box(axis, 12.3, 2.6, 2.2, 1.0, "queue of keys", Y)
    _arrow(axis, (0.95, 1.9), (2.7, 3.1), bend=-0.3)
    axis.text(0.15, 2.85, "another view", fontsize=8, color="0.35")
    _arrow(axis, (5.0, 3.6), (12.9, 3.6), bend=-0.1)
    _arrow(axis, (12.3, 3.05), (11.3, 3.05))
    axis.text(15.0, 3.1, "$I_{CPC}(x; y)$  ≤  log m", fontsize=10, va="center", color="#b0681a")
    axis.text(15.0, 1.05, "$I_{BA}(x; z)$,  no cap", fontsize=10, va="center", color="#2c6e97")

    # (b)
    axis.text(0, -1.0, "(b) a DDIM on the frozen z", weight="bold", fontsize=10)
    _box(axis, 0.1, -2.9, 1.9, 1.2, "noise\n6×16×16", IMAGE)
    _box(axis, 3.0, -2.75, 2.6, 0.9, "DDIM, S steps", NET)
    _box(axis, 6.6, -2.3, 1.3, 0.6, "y", Y)
    _box(axis, 6.6, -2.9, 1.3, 0.6, "w", W)
    _box(axis, 9.0, -2.75, 2.3, 0.9, "decoder", NET)
    _box(axis, 12.3, -2.9, 1.7, 1.2, "new x", IMAGE)
    for left, right in ((2.0, 3.0), (5.6, 6.6), (7.9, 9.0), (11.3, 12.3)):
        _arrow(axis, (left, -2.3), (right, -2.3))
    return figure


def _box(axis: Axes, left: float, bottom: float, width: float, height: float, text: str, colour: str) -> None:
    shape = FancyBboxPatch((left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.12", fc=colour, ec="#566072")
    axis.add_patch(shape)
    axis.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=9)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color="#566072", connectionstyle=f"arc3,rad={bend}")
    )
