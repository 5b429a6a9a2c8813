"""README and docs/: numbers agree with the results, link targets and names exist, code runs."""

import json
import pkgutil
import re
import unicodedata
from dataclasses import replace

import generate
import pandas as pd
import pytest
import tables
from checkout import committed, is_unchanged

import hybrid
from hybrid import paths

ROOT = paths.REPOSITORY
RESULTS = ROOT / "results"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PATTERNS = ("hybrid/weights/*.md", "docs/**/*.md", "results/bench/*.md", "notebooks/*.ipynb")
PAGES += sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"""\]\(([^)\s]+)\)|\b(?:src|href)="([^"]+)\"""")


def text_of(path):
    """A page's Markdown; a notebook's, in which outputs do not count."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def anchors(path):
    """The anchors that a forge gives a page's headings: lower case, punctuation gone, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*?)\s*$", re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL), re.MULTILINE)
    plain = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower() for heading in headings)
    kept = (c for c in ("".join(x for x in h if x in " -_" or unicodedata.category(x)[0] in "LN") for h in plain))
    return {heading.replace(" ", "-") for heading in kept}


def local_links(path):
    found = (first or second for first, second in LINK.findall(CODE.sub("", text_of(path))))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in local_links(path):
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{link}: no such file"
        assert ROOT in there.parents
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{link}: no such heading"


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "page.md").write_text("# A page's title\n[x](gone.md) `[y](code.md)` <img src='no'> <img src=\"p.png\">\n")
    assert local_links(tmp_path / "page.md") == ["gone.md", "p.png"]
    assert anchors(tmp_path / "page.md") == {"a-pages-title"}


def test_every_page_is_in_the_sites_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    for path in PAGES:
        name = str(path.relative_to(ROOT)).removeprefix("docs/").replace(".ipynb", ".md").replace("README", "index")
        assert f": {name}\n" in navigation, f"{name} is in no menu of mkdocs.yml"


@pytest.mark.skipif(not is_unchanged("results"), reason="results/ has changes that are not committed")
def test_pages_are_as_the_code_and_the_results_have_them():
    stale = [str(path.relative_to(ROOT)) for path, text in generate.content().items() if path.read_text() != text]
    assert not stale, "run python docs/generate.py"


def test_the_reference_of_python_is_readable_without_the_site():
    text = (ROOT / "docs/reference/api.md").read_text()
    assert "`split(z: Tensor) -> tuple[Tensor, Tensor]`: Split z into y and w." in text
    assert "`class ImageSet(name: str, train_images: Tensor" in text and ":::" not in text
    assert " at 0x" not in text and "ForwardRef" not in text  # nothing that another run or version would write otherwise
    for name in hybrid.__all__:
        assert f"`hybrid.{name}`" in text


@pytest.mark.parametrize(
    "profile", [name for name, folder in tables.FOLDERS.items() if committed(f"results/{folder}/table1.csv")]
)
@pytest.mark.skipif(not is_unchanged("results"), reason="results/ has changes that are not committed")
def test_tables_are_those_of_the_csv(profile):
    """The generator reads the outcomes; table1.csv was written when they were judged."""
    rows = pd.read_csv(RESULTS / tables.FOLDERS[profile] / "table1.csv")
    shown = tables.detail(profile)
    for row in rows[rows["value"].notna() & rows["metric"].isin(["acc", "mse", "precision", tables.FD])].itertuples():
        assert tables.value(profile, row.method, row.metric) == pytest.approx(row.value, rel=1e-4)
        line = next(line for line in shown.splitlines() if line.startswith(f"| {tables.TABLE[row.method].title} |"))
        cells = [cell.strip("*").partition(" (n =")[0] for cell in line.strip("| ").split(" | ")[1:]]
        assert tables.number(tables.value(profile, row.method, row.metric), row.std) in cells


def test_a_number_that_drifted_is_mended(monkeypatch):
    kept = json.loads((ROOT / "results/laptop/cifar10/seed0/hybrid.json").read_text())["metrics"]
    assert tables.update("y has 1.0<!--laptop hybrid acc--> %") == f"y has {kept['acc']:.1f}<!--laptop hybrid acc--> %"
    assert tables.update("3.14<!--paper nvae mse-->") == "0.25<!--paper nvae mse-->"
    log = (ROOT / "results/bench/generation.md").read_text()  # whose tables were written by hand
    assert all(f"{tables.value('ladder', step, 'fd'):.1f}" in log for step in tables.LADDER)
    with pytest.raises(KeyError):
        tables.update("1<!--laptop hybrid nothing-->")
    monkeypatch.setattr(tables, "values", lambda *_: [77.0, 79.0])
    assert tables.value("laptop", "mocov2", "deviation/acc") == pytest.approx(2**0.5)


def test_pages_leave_out_the_seeds_that_the_table_leaves_out(tmp_path, monkeypatch):
    for seed, precision in ((10, "float32"), (2, "bf16"), (3, None), (4, "bf16")):
        kept = {"key": {"seed": seed}, "metrics": {"acc": seed}, "provenance": {"precision": precision}}
        (tmp_path / f"seed{seed}").mkdir()
        (tmp_path / f"seed{seed}" / "mocov2.json").write_text(json.dumps(kept))
    monkeypatch.setattr(tables, "committed", lambda _: sorted(tmp_path.glob("seed*/mocov2.json")))
    monkeypatch.setattr(tables, "outcomes", tables.outcomes.__wrapped__)
    assert tables.values("laptop", "mocov2", "acc") == [2, 3, 4]
    assert tables.value("laptop", "mocov2", "seed4/acc") == 4


def test_a_method_without_outcomes_has_no_row(monkeypatch):
    monkeypatch.setitem(tables.TABLE, "linear", replace(tables.TABLE["nvae"], name="linear", title="Linear"))
    for table in (tables.summary, tables.detail, tables.calibration):
        assert "Linear" not in table("laptop") and "BigGAN" in table("laptop")


def test_the_front_page_has_both_data_sets_beside_the_papers_numbers():
    rows = [line.strip("| ").split(" | ") for line in tables.summary("both").splitlines() if "| Hybrid |" in line]
    papers = [str(tables.PAPER[name]["hybrid"]["acc"]) for name in ("cifar10", "cifar100")]
    assert [(row[0], row[3]) for row in rows] == [*zip(("CIFAR-10", "CIFAR-100"), papers, strict=True)]


def test_the_front_page():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 120
    assert "missing" not in text.lower()
    assert len(re.findall(r"<!-- table", text)) == 1
    named = re.findall(r"\[`(hybrid\.[\w.]+)`\]\(([^)]+)\)", text)
    assert len(named) >= 10
    for name, path in named:
        assert callable(pkgutil.resolve_name(name))
        assert name.startswith(path.removesuffix(".py").replace("/", ".") + ".")


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_say_first_how_long_they_take_and_last_what_to_try_next(path):
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    assert re.search(r"^\*\*Time:\*\* \d+ (seconds|minutes) on two CPU cores", cells[0], re.MULTILINE)
    assert cells[-1].startswith("**What to try next.**")


def test_layout_lists_every_environment_variable():
    code = "\n".join(path.read_text() for path in (ROOT / "hybrid").rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get\(|\[)"(HYBRID_\w+)"', code))
    assert len(read) > 5
    page = (ROOT / "docs" / "reference" / "layout.md").read_text()
    assert set(re.findall(r"HYBRID_[A-Z]+", page.partition("## Environment variables")[2])) == read
