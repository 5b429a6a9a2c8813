"""Files that are kept: what is damaged is set aside with a line, what cannot be read now is left, and nothing is believed."""

import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hybrid import paths
from hybrid.errors import HybridError, silent
from hybrid.machine import files

plain = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**60), 2**60) | some.floats(allow_nan=False) | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(values=some.dictionaries(some.text(max_size=5).filter(lambda name: name != "digest"), plain, max_size=4))
def test_what_is_sealed_is_read_back(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "sealed.json"
    files.write_json(path, files.sealed(values))
    assert files.read_json(path) == values


def test_a_digit_that_changed_is_found(tmp_path, caplog):
    path = tmp_path / "outcome.json"
    files.write_json(path, files.sealed({"acc": 78.27}))
    path.write_text(path.read_text().replace("78.27", "78.37"))
    assert files.read_json(path) is None
    why = "its content does not have the digest that was written with it"
    assert caplog.messages == [f"{path} cannot be read ({why}): set aside as outcome.json.damaged"]
    assert "78.37" in (tmp_path / "outcome.json.damaged").read_text() and not path.exists()


def test_json_without_a_digest_is_of_earlier_versions(tmp_path):
    (tmp_path / "a.json").write_text('{"acc": 1}')
    assert files.read_json(tmp_path / "a.json") == {"acc": 1}


@settings(max_examples=200, deadline=None)
@given(content=some.binary(max_size=200) | plain.map(lambda value: json.dumps(value).encode()))
def test_whatever_lies_there_gives_values_or_nothing(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    for read in (files.read_json, files.load_arrays):
        path.write_bytes(content)
        with silent():
            found = read(path)
        assert found is None or isinstance(found, dict | list)


@settings(max_examples=200, deadline=None)
@given(data=some.data())
def test_a_flipped_bit_of_an_archive_is_found_or_changes_nothing(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flipped.npz"
    arrays = {"key": np.array("{}"), "samples": np.arange(50, dtype=np.uint8)}
    files.save_arrays(path, arrays)
    content = bytearray(path.read_bytes())
    content[data.draw(some.integers(0, len(content) - 1))] ^= 1 << data.draw(some.integers(0, 7))
    path.write_bytes(content)
    with silent():
        found = files.load_arrays(path, arrays)
    assert found is None or all((found[name] == arrays[name]).all() for name in arrays)


def test_pickles_are_never_loaded(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, samples=np.array([{"a": 1}], dtype=object))
    assert files.load_arrays(path) is None


def test_an_archive_with_other_members_or_compression_is_set_aside(tmp_path):
    path = tmp_path / "x.npz"
    files.save_arrays(path, {"other": np.zeros(3)})
    assert files.load_arrays(path, ("key",)) is None and (tmp_path / "x.npz.damaged").exists()
    for place, value in ((8, b"\x63\x00"), (6, b"\x01\x00")):  # an unknown compression; an encryption bit
        files.save_arrays(path, {"key": np.zeros(3)})
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            directory = archive.start_dir
        content[place : place + 2] = content[directory + place + 2 : directory + place + 4] = value
        path.write_bytes(content)
        assert files.load_arrays(path, ("key",)) is None


def test_a_file_that_cannot_be_read_now_is_left_as_it_is(tmp_path):
    (tmp_path / "folder.json").mkdir()
    for read in (files.read_json, files.load_arrays):
        with pytest.raises(HybridError, match=r"folder\.json cannot be read .*: it was not changed"):
            read(tmp_path / "folder.json")


def test_what_a_kill_left_behind_is_swept(tmp_path):
    """And what another process, or another machine's, is writing is not."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = (f"{files.HOST}.{os.getppid()}", f"{files.HOST}.{ended.pid}", f"another.{ended.pid}")
    mine, gone, others = (tmp_path / f".a[0].json.{name}" for name in names)
    mine.touch(), gone.touch(), others.touch()
    files.write_json(tmp_path / "a[0].json", {})
    assert mine.exists() and others.exists() and not gone.exists()


def test_texts_are_written_alike_in_every_locale(tmp_path):
    code = (
        "import sys; from pathlib import Path; from hybrid.machine import files; files.write_text(Path(sys.argv[1]), '\\xb1')"
    )
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "x"], env=plain, cwd=paths.REPOSITORY, check=True)
    assert (tmp_path / "x").read_bytes() == "±".encode()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_stays_and_the_file_that_it_names_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "codes.json"
    link.symlink_to("disk/codes.json")
    for value in (1, 2):  # the file is made, then replaced
        files.write_json(link, [value])
        assert link.is_symlink() and json.loads((tmp_path / "disk" / "codes.json").read_text()) == [value]


def test_rows_of_two_processes_are_all_kept(tmp_path):
    append = "import sys; from pathlib import Path; from hybrid.machine.files import append_json\n"
    append += "for i in range(15): append_json(Path(sys.argv[1]), {'i': i})"
    started = [subprocess.Popen([sys.executable, "-c", append, str(tmp_path / "rows.json")]) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    assert sorted(row["i"] for row in files.read_json(tmp_path / "rows.json")) == sorted([*range(15)] * 2)


def test_numbers_that_are_not_finite_are_refused():
    files.check_finite({"acc": 1.0}, "nvae")
    with pytest.raises(HybridError, match="nvae: mse is nan, not finite"):
        files.check_finite({"acc": 1.0, "mse": float("nan")}, "nvae")


def test_nothing_that_was_set_aside_is_lost(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for content in ("first", "second", "third"):
        path.write_text(content)
        files.set_aside(path, "of another shape")
    assert {kept.name: kept.read_text() for kept in tmp_path.iterdir()} == {
        "checkpoint.pt.damaged": "first",
        "checkpoint.pt.damaged1": "second",
        "checkpoint.pt.damaged2": "third",
    }
