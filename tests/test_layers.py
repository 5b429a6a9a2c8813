"""The layers of the package: imports go downwards only, and models use no files or progress bars."""

import ast
import re
from pathlib import Path

import hybrid

PACKAGE = Path(hybrid.__file__).parent
# From low to high. A module may import from its own layer and from those below.
LAYERS = (
    "errors",
    "paths",
    "profiles",
    "machine",
    "data",
    "objectives",
    "models",
    "model",
    "training",
    "judging",
    "released",
    "bridges",
    "experiments",
    "showing",
    "workflows",
    "benchmark",
    "commands",
    "cli",
)


def imports(path):
    """The modules of this package that a file imports, in functions too, such as hybrid.data.digits."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hybrid":
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("hybrid."))


def test_every_module_has_a_layer():
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__"} == set(LAYERS)


def test_the_page_shows_the_layers_in_their_order():
    page = (PACKAGE.parent / "docs" / "reference" / "layout.md").read_text()
    rows = [line.split("|")[1] for line in page.partition("## What a run writes")[0].splitlines() if line.startswith("| `")]
    found = [re.sub(r"(/|\.py)$", "", name) for row in rows for name in re.findall(r"`(.*?)`", row)]
    assert [name for name in found if name != "weights"] == list(LAYERS)  # weights/ has no code


def test_imports_go_downwards():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        above = LAYERS[LAYERS.index(own) + 1 :] if own != "__init__" else ()
        wrong += [f"{path.name}: {module}" for module in imports(path) if module.split(".")[1] in above]
    assert not wrong


def test_models_know_no_files_and_no_progress_bars():
    for path in [*(PACKAGE / "models").glob("*.py"), PACKAGE / "model.py", PACKAGE / "objectives.py"]:
        tree = ast.parse(path.read_text())
        found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        found |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        assert not found & {"tqdm", "pathlib", "os", "hybrid.machine.files", "hybrid.paths"}, path.name
