"""The chart of factors shows only the parts that were measured, and its whole legend is in the picture."""

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from hybrid.judging.factors import PARTS
from hybrid.showing import factors


def study(parts, named=("class", "place")):
    return pd.DataFrame([{"factor": factor, "part": part, "score": 0.5} for factor in named for part in parts])


@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("parts", [PARTS, ("y", "w", "z")])
def test_the_legend_names_the_parts_that_are_there_and_fits(panels, parts):
    figure = factors.draw({f"panel {place}": study(parts) for place in range(panels)})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(parts)
    for text in legend.get_texts():
        box = text.get_window_extent()
        assert figure.bbox.contains(*box.min) and figure.bbox.contains(*box.max)
    assert all(len(axis.containers) == len(parts) for axis in figure.axes)
    plt.close(figure)


def test_more_factors_make_a_higher_picture():
    low, high = (factors.draw({"study": study(PARTS, named)}) for named in (("class",), ("class", "place", "size")))
    assert high.get_figheight() > low.get_figheight() + 1
    plt.close("all")
