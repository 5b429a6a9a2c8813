"""The report: what it says first, what it folds away, what it escapes, and that one can find one's way in it."""

import math
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from hybrid.experiments import table
from hybrid.experiments.experiment import Experiment
from hybrid.workflows import report
from hybrid.workflows.expected import Comparison


class Page(HTMLParser):
    """Tags in their order, with attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.folded, self.shown = [], "", 0, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.folded += tag == "details"

    def handle_endtag(self, tag):
        self.folded -= tag == "details"

    def handle_data(self, data):
        self.text += data
        self.shown += "" if self.folded else data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(smoke_home):
    """Of the hybrid and MoCo-v2 at `smoke`, with a notebook whose name means something to HTML."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRID_HOME", str(smoke_home))
        experiment = Experiment("smoke")
        before = (experiment.results / "report.html").read_bytes()
        path = report.write(experiment, ("hybrid", "mocov2"), [smoke_home / "runs" / "a<b> & c.ipynb"])
        made = Page(path.read_text(encoding="utf-8"))
        path.write_bytes(before)
    return made


def test_main_table_fits_a_desktop_and_captions_are_whole_on_a_phone(page):
    """Headers wrap, so that the last column is in sight; a caption stays while its table scrolls."""
    assert re.search(r"thead th \{[^}]*white-space: normal", page.text)
    assert re.search(r"caption span \{[^}]*position: sticky", page.text)
    after = [name for (before, _), (name, _) in zip(page.tags, page.tags[1:], strict=False) if before == "caption"]
    assert set(after) == {"span"}


def test_claim_then_numbers_then_figures_and_provenance_is_folded(page):
    headings = [attributes["id"] for attributes in page.all("h2")]
    assert headings == ["claim", "numbers", "figures", "parts", "files", "provenance"]
    assert "One code z = [y, w] classifies, reconstructs and generates. Here: " in page.shown
    assert page.text.index("One code z") < page.text.index("This run; the best of our values is bold")
    assert '"commit"' in page.text and '"commit"' not in page.shown
    assert len(page.shown) < 0.6 * len(page.text)


def test_one_can_find_ones_way(page):
    anchors = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#")}
    assert anchors == {h["id"] for h in page.all("h2")}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [a["lang"] for a in page.all("html")] == ["en"] and len(page.all("h1")) == len(page.all("main")) == 1
    assert all(image["alt"] and int(image["width"]) > 0 for image in page.all("img")) and page.all("img")
    assert len(page.all("table")) == len(page.all("caption")) >= 2
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))


def test_links_lead_to_what_is_there_and_are_escaped(page):
    hrefs = [a["href"] for a in page.all("a") if not a["href"].startswith("#")]
    assert "../../../runs/a%3Cb%3E%20%26%20c.ipynb" in hrefs and "a<b> & c.ipynb" in page.text
    assert {"seed0/hybrid.json", "seed0/mocov2.json", "seed0/figure2.npz"} <= set(hrefs)


def test_a_figure_6_of_another_training_is_left_out(smoke_home, monkeypatch):
    monkeypatch.setenv("HYBRID_HOME", str(smoke_home))
    experiment = Experiment("smoke")
    shown = [
        {figure["stem"] for figure in report._figures(experiment, experiment.table(), methods)}
        for methods in (("hybrid", "hybridplus"), ("hybrid",))
    ]
    assert shown[0] - shown[1] == {"figure6"}


def test_samples_of_a_short_profile_say_so(page):
    assert report.ROUGH.strip() in page.shown
    assert set(report.OF_SAMPLES) <= set(report.FIGURES)
    for title, caption, alt in report.FIGURES.values():
        assert len(alt) > 40 and alt not in (title, caption)


def texts(cells):
    """A table's cells as texts, by the first cell and the column; those that are marked with a star."""
    return {
        (row[0]["text"], column): cell["text"] + "*" * cell["best"]
        for row in cells["rows"]
        for column, cell in zip(cells["columns"], row, strict=True)
    }


def test_one_table_of_yours_committed_and_the_papers():
    measured = {"hybrid": {0: {"acc": 78.84, "mse": 0.62}}, "mocov2": {0: {"acc": 79.0}, 1: {"acc": 80.0}}}
    measured |= {"nvae": {0: {"acc": 57.0}}, "ddim": {0: {"acc": 42.0, "mse": 6.18}}}
    rows = table.tidy("cifar10", measured)
    compared = [Comparison("hybrid", "acc", 78.84, 77.0, 78.9, 80.0)]
    shown = texts(report.main_numbers(rows, compared))
    acc = table.heading("acc")
    assert [shown["Hybrid", f"{acc}{of}"] for of in ("", ", committed", ", paper")] == ["78.8", "77.0", "77.6"]
    assert shown["MoCo-v2", acc] == "79.5 ± 0.7*" and shown["MoCo-v2", f"{acc}, committed"] == "–"
    assert shown["Hybrid", table.heading("mse")] == "0.62*" and shown["NVAE-lite", table.heading("mse")] == "missing"
    assert shown["MoCo-v2", table.heading("mse")] == "–" and ("BigGAN", acc) not in shown  # nobody ran BigGAN
    assert report.numbers_caption(rows, compared) == (
        "All seeds here, mean ± standard deviation, the committed run and the paper; the best of our values is bold"
    )
    assert texts(report.all_numbers(rows, compared))["Hybrid", f"{acc}, expected"] == "78.9 to 80.0, outside"
    assert not [key for key in texts(report.all_numbers(rows, compared)) if "FID" in key[1]]  # nobody has it
    plain = report.main_numbers(table.tidy("mine", measured), [])
    assert plain["columns"] == ["method", table.heading("mse"), acc]


def test_without_labels_the_claim_says_what_is_known():
    rows = table.tidy("mine", {"hybrid": {0: {"mse": 3.21, "fd_efficientnet_lite0": 120.0}}})
    said = report.claim(rows)
    assert "3.21e-3" in said and "120.0" in said and "%" not in said
    assert "nothing is measured yet" in report.claim(table.tidy("mine", {}))
    both = {"hybrid": {0: {"fd_efficientnet_lite0": 120.0}}, "hybridplus": {0: {"fd_efficientnet_lite0": 90.0}}}
    assert "(FD, EfficientNet-lite0) is 120.0, and with Hybrid+, which samples y first, 90.0." in report.claim(
        table.tidy("mine", both)
    )
    assert "Without labels" in said and "classifies" not in said
    assert list(table.parts({"moved_y": 1.0})) == ["image moves by, 1e-3"]
    assert report.numbers_caption(rows, []) == "This run"
    for shown in (report.main_numbers(rows, []), report.all_numbers(rows, [])):
        assert shown["columns"] == ["method", table.heading("mse"), "FD, EfficientNet-lite0"]
        assert [[cell["text"] for cell in row] for row in shown["rows"]] == [["Hybrid", "3.21", "120.0"]]
        assert not any(cell["best"] for row in shown["rows"] for cell in row)
    cells = report._cells(pd.DataFrame({"a": [1.0, math.nan]}))
    assert [row[0]["text"] for row in cells["rows"]] == ["1.0", ""]
