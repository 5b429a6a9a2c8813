"""Table 1 as a figure."""

from matplotlib import pyplot as plt

from hybrid.experiments import table
from hybrid.showing import tables


def test_the_best_of_a_column_is_bold_and_nothing_is_cut_off():
    measured = {"hybrid": {0: {"mse": 1.0, "acc": 60.0}, 1: {"mse": 2.0, "acc": 62.0}}, "ddim": {0: {"mse": 1.5, "acc": 20.0}}}
    figure = tables.draw(table.tidy("digits", measured))
    (drawn,) = figure.axes[0].tables
    cells = {cell.get_text().get_text(): cell.get_text().get_weight() for cell in drawn.get_celld().values()}
    assert [cells[text] for text in ("1.5 ± 0.7", "1.50", "61.0 ± 1.4", "20.0")] == ["bold", "bold", "bold", "normal"]
    assert not any("*" in text for text in cells)
    figure.draw_without_rendering()
    box = drawn.get_window_extent()
    assert figure.bbox.contains(*box.min) and figure.bbox.contains(*box.max)
    plt.close(figure)
