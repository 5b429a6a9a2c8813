"""Images beside their nearest: rows wrap, the numbers are named, and every image is where its title is."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from hybrid.showing import probed


def drawn(rows, count):
    """A figure of images of one grey each, which are their own titles; the queries are black."""
    found = np.arange(rows * count).reshape(rows, count) % 200 + 1
    nearest = np.broadcast_to(found[..., None, None, None], (rows, count, 3, 32, 32)).astype(np.uint8)
    titles = [[str(value) for value in row] for row in found]
    return probed.neighbours(np.zeros((rows, 3, 32, 32), np.uint8), nearest, titles, "test image")


@pytest.mark.parametrize(("rows", "count"), [(8, 6), (1, 1), (2, 50), (1, 1000)])
def test_rows_wrap_and_titles_stand_above_their_images(rows, count):
    figure = drawn(rows, count)
    (axis,) = figure.axes
    sheet = axis.images[0].get_array()
    shown = min(count, probed.MOST)
    texts = {text.get_text(): text.get_position() for text in axis.texts}
    assert len([text for text in axis.texts if text.get_text().isdigit()]) == rows * shown
    assert len([text for text in axis.texts if text.get_text() == "test image"]) == 1
    for text, (x, y) in texts.items():
        assert sheet[int(y) + 5, int(x), 0] == (int(text) if text.isdigit() else 0)
    wide, high = figure.get_size_inches() * 200
    assert wide <= 2300 and high <= 4400
    (said,) = figure.texts
    assert "cosine similarity" in said.get_text()
    assert ("the first 200 of 1,000 are drawn" in said.get_text()) == (count == 1000)
    figure.draw_without_rendering()
    box = said.get_window_extent()
    assert figure.bbox.contains(*box.min) and figure.bbox.contains(*box.max)
    plt.close(figure)
