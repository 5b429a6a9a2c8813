"""Write whatever README.md and docs/ take from the code and the results: `python docs/generate.py`.

- tables and numbers out of results/ (see `tables`);
- reference/cli.md out of the commands' docstrings;
- reference/fields.md out of the comments on the profiles' dataclasses, reference/values.md out of the profiles;
- with `--pictures`, images/pipeline.png, which the notebook `method` draws too.

`python docs/generate.py --check` writes nothing and names what is out of date.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import tokenize
from dataclasses import fields, is_dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from tables import ROOT, markdown, update

DOCS = ROOT / "docs"
SCHEMA = ROOT / "hybrid" / "profiles" / "schema.py"
MADE = "<!-- made by docs/generate.py; edit the code, not this page -->"


def pages() -> list[Path]:
    """The Markdown pages that hold tables or numbers of results/."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def content() -> dict[Path, str]:
    """Every generated page, and every page with numbers, as it should be."""
    whole = {"cli.md": cli(), "fields.md": profile_fields(), "values.md": profile_values()}
    whole = {DOCS / "reference" / name: text for name, text in whole.items()}
    return {path: update(path.read_text()) for path in pages() if path not in whole} | whole


def cli() -> str:
    """A section a command: what it does, and its options."""
    from hybrid.cli import COMMANDS

    lines = [MADE, "", "# Command line", "", "`hybrid --help` and `hybrid COMMAND --help` print the same.", ""]
    for command in COMMANDS:
        text, _, arguments = inspect.getdoc(command).partition("\nArgs:\n")
        text = re.sub(r"For example:\n((?: {4}.*\n?)+)", lambda m: f"```\n{inspect.cleandoc(m[1])}\n```\n", text)
        lines += [f"## hybrid {command.__name__}", "", text.strip(), ""]
        meanings = dict(re.findall(r"^    (\w+): (.*(?:\n     .*)*)", arguments, re.MULTILINE))
        rows = []
        for name, parameter in inspect.signature(command).parameters.items():
            option = f"--{name.replace('_', '-')}"
            required = parameter.default is inspect.Parameter.empty
            default = "required" if required else _default(parameter.default)
            names = f"`{option}`" + f", `--no-{option[2:]}`" * (parameter.default is True)
            rows.append([names, default, _cell(" ".join(meanings[name].split()))])
        lines += [markdown(["option", "default", "meaning"], rows), ""]
    return "\n".join(lines)


def profile_fields() -> str:
    """A section a dataclass of the schema: each field's type, default and comment."""
    from hybrid.profiles import schema

    source = SCHEMA.read_text()
    comments = _comments(source)
    lines = [MADE, "", "# Profile fields", ""]
    lines += ["Every field of a profile, by the dataclass that holds it. [Values](values.md) lists what each profile has.", ""]
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or not node.bases:
            continue
        parents = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id != "Checked"]
        ranges = schema.ranges(getattr(schema, node.name))
        also = f" It has the fields of [{parents[0]}](#{parents[0].lower()}) too." if parents else ""
        lines += [f"## {node.name}", "", " ".join((ast.get_docstring(node) or "").split()) + also, ""]
        rows = [_field(field, source, comments, ranges) for field in node.body if isinstance(field, ast.AnnAssign)]
        lines += [markdown(["field", "type", "values", "default", "meaning"], rows), ""] if rows else []
    return "\n".join(lines)


def profile_values() -> str:
    """A table a part of the profiles: what every profile has for every field."""
    from hybrid.profiles.overrides import PROFILES

    columns = {name: dict(_flat(profile)) for name, profile in PROFILES.items()}
    paths = list(dict.fromkeys(path for column in columns.values() for path in column if path != "name"))
    lines = [MADE, "", "# Profile values", ""]
    lines += ["What each profile has, written as an override takes it: `laptop,hybrid.representation.training.epochs=6`.", ""]
    for part in dict.fromkeys(path.rpartition(".")[0] for path in paths):
        lines += [f"## {part or 'The profile'}", ""]
        own = [path for path in paths if path.rpartition(".")[0] == part]
        rows = [[f"`{path.rpartition('.')[2]}`", *(column.get(path, "–") for column in columns.values())] for path in own]
        lines += [markdown(["field", *columns], rows), ""]
    return "\n".join(lines)


def _flat(value, path: str = ""):
    """(dotted path, value as an override writes it) of each plain field."""
    for field in fields(value):
        part, name = getattr(value, field.name), f"{path}{field.name}"
        if is_dataclass(part):
            yield from _flat(part, f"{name}.")
        else:
            yield name, _override(part)


def _override(value) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _field(node: ast.AnnAssign, source: str, comments: dict[int, tuple[str, bool]], ranges: dict) -> list[str]:
    """A field as a row: its comments are those right above it and the one at its end."""
    above, line = [], node.lineno - 1
    while line in comments and comments[line][1]:
        above.insert(0, comments[line][0])
        line -= 1
    beside = [comments[node.end_lineno][0]] if node.end_lineno in comments else []
    plain, optional, range_ = ranges[node.target.id]
    kind = (plain.__name__ if isinstance(plain, type) and "[" not in str(plain) else str(plain)) + " or none" * optional
    values = "–" if range_ is None else range_.expected
    default = "required" if node.value is None else f"`{ast.get_source_segment(source, node.value)}`".replace("None", "none")
    return [f"`{node.target.id}`", f"`{kind}`", values, default, _cell(" ".join(above + beside))]


def _comments(source: str) -> dict[int, tuple[str, bool]]:
    """Each line's comment, and whether the line has nothing else."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = token.string.lstrip("# "), not token.line[: token.start[1]].strip()
    return found


def _default(value) -> str:
    if value is None or value == () or value == "":
        return "–"
    return "off" if value is False else "on" if value is True else f"`{value}`"


def _cell(text: str) -> str:
    """Text that a table's cell can hold: angle brackets are no HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def pictures() -> None:
    """Draw the pipeline for the front page, small enough to load at once."""
    from hybrid.showing import pipeline

    path = DOCS / "images" / "pipeline.png"
    path.parent.mkdir(exist_ok=True)
    pipeline.draw().savefig(path, dpi=130, metadata={"Software": None})
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def main() -> int:
    stale = [path for path, text in content().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run python docs/generate.py")
        return int(bool(stale))
    for path, text in content().items():
        path.write_text(text)
    if "--pictures" in sys.argv:
        pictures()
    return 0


if __name__ == "__main__":
    sys.exit(main())
