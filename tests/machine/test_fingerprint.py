"""What code a number depends on, and what is said where it is another."""

import ast

import pytest

from hybrid.cli import main
from hybrid.errors import HybridError
from hybrid.machine import fingerprint
from hybrid.machine.precision import best_device
from hybrid.machine.provenance import machine, provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a module hybrid.models.<name> of a package of the test's own."""
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()

    def write(name, text):
        (tmp_path / "models" / f"{name}.py").write_text(text)
        for cached in (fingerprint._source, fingerprint._tree, fingerprint.modules, fingerprint.fingerprint):
            cached.cache_clear()
        return fingerprint.modules("hybrid.models.a")

    yield write
    monkeypatch.undo()
    for cached in (fingerprint._source, fingerprint._tree, fingerprint.modules, fingerprint.fingerprint):
        cached.cache_clear()


def test_a_module_and_what_it_imports_count(package):
    package("b", "x = 1")
    before = package("a", "from hybrid.models.b import x\nfrom hybrid.machine.files import log\n")
    assert before.keys() == {"models.a", "models.b"}
    assert package("b", '"""Of x."""\nx = 1  # one\n') == before  # words change no number
    after = package("b", "x = 2")
    assert after["models.b"] != before["models.b"] and after["models.a"] == before["models.a"]


def test_code_that_changes_while_it_runs_counts_as_it_was(package, tmp_path):
    before = package("a", "x = 1")
    package("a", "x = 1")
    fingerprint.modules.cache_clear()
    fingerprint.remember()
    (tmp_path / "models" / "a.py").write_text("x = 2")
    assert fingerprint.modules("hybrid.models.a") == before


def test_other_code_and_precision_are_told_once_or_refused(package, caplog, strictly):
    package("b", "x = 1")
    found = package("a", "from hybrid.models.b import x")
    origin = {"modules": found, "precision": machine(best_device())["precision"], "commit": "abc"}
    assert fingerprint.difference(origin) == "" == fingerprint.difference({})
    package("b", "x = 2")
    assert fingerprint.difference(origin) == "other code (models.b changed since commit abc)"
    many = {"modules": dict.fromkeys(["models.x", "models.y", "models.z"], "0"), "commit": "abc"}
    assert fingerprint.difference(many) == "other code (models.x, models.y and 1 more changed since commit abc)"
    trained = {"model": {"modules": found, "commit": "abc"}, "prior": {"modules": {"models.c": "0"}, "commit": "def"}}
    judged = {"modules": {"models.a": found["models.a"]}, "commit": "ghi", "trained": trained}
    words = "models.b changed since commit abc; models.c changed since commit def"
    assert fingerprint.difference(judged) == f"other code ({words})"
    assert "models.c changed" in fingerprint.difference({"trained": trained["prior"]})
    other = {"bf16": "float32", "float32": "bf16"}[origin["precision"]]
    for _ in range(2):
        fingerprint.tell_difference("hybrid.json", {"precision": other})
    (line,) = caplog.messages
    assert f"hybrid.json comes from another precision ({other}, here it is {origin['precision']})" in line
    with strictly(), pytest.raises(HybridError, match=r"models\.b changed .*omit --strict"):
        fingerprint.tell_difference("hybrid.json", origin)


def test_what_a_method_depends_on_is_found():
    found = fingerprint.modules("hybrid.models.nvae", "hybrid.training.loop")
    assert {"models.nvae", "models.cells", "training.loop", "training.optimisers", "training.muon"} <= found.keys()
    assert {"machine.precision", "machine.gradients"} <= found.keys()
    assert not found.keys() & {"models.biggan", "training.progress", "machine.files"}
    assert "modules" in provenance(modules=found)


def test_strict_ends_with_its_command(home):
    assert main(["evaluate", "--profile", "smoke", "--strict", "--methods", "none"]) == 2
    assert not fingerprint.strict.get()


def test_the_syntax_is_the_same_text_in_every_version_of_python():
    """Of 3.11. Later versions would add type_params, show_empty's fields, or an empty string after a nested format."""
    text = fingerprint._dump(ast.parse("def f(x, w):\n    return f'{x:{w}}'"))
    nested = "JoinedStr(values=[FormattedValue(value=Name(id='w', ctx=Load()), conversion=-1)])"
    arguments = "posonlyargs=[], args=[arg(arg='x'), arg(arg='w')], kwonlyargs=[], kw_defaults=[], defaults=[]"
    value = f"JoinedStr(values=[FormattedValue(value=Name(id='x', ctx=Load()), conversion=-1, format_spec={nested})])"
    function = f"FunctionDef(name='f', args=arguments({arguments}), body=[Return(value={value})], decorator_list=[])"
    assert text == f"Module(body=[{function}], type_ignores=[])"
