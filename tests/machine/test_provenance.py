"""The provenance of a result."""

import shutil
import subprocess

import pytest

from hybrid.machine import provenance


def test_a_commit_can_be_named_where_there_is_no_git(monkeypatch):
    monkeypatch.setattr(provenance, "git", lambda *_, **__: None)
    monkeypatch.delenv("HYBRID_COMMIT", raising=False)
    assert provenance.code.__wrapped__() == {"commit": None, "dirty": None}
    monkeypatch.setenv("HYBRID_COMMIT", "4820b72")
    assert provenance.code.__wrapped__() == {"commit": "4820b72", "dirty": None}


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_another_repositorys_commit_is_not_the_codes(tmp_path, monkeypatch):
    """As where a project has this one installed in its own folder."""
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    (tmp_path / "hybrid").mkdir()
    (tmp_path / "hybrid" / "provenance.py").touch()
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "hybrid" / "provenance.py"))
    monkeypatch.delenv("HYBRID_COMMIT", raising=False)
    assert provenance.code.__wrapped__() == {"commit": None, "dirty": None}


def test_devices_of_the_trainings_are_told_apart_from_the_judges():
    first = {"device": "a CPU", "trained": {"representation": {"device": "a GPU"}, "prior": {"device": "a GPU"}}}
    assert provenance.trained_on(first) == "a GPU"
    assert provenance.trained_on(first, {"device": "a CPU", "trained": {"model": {"device": "a CPU"}}}) == "a GPU, a CPU"
    assert provenance.trained_on({"device": "a CPU"}) == "a CPU"  # an earlier version did not say
    moved = {"device": "a GPU", "resumed": [{"device": "a CPU"}, {"device": "a GPU"}]}
    assert (
        provenance.trained_on({"device": "a CPU", "trained": {"model": moved}})
        == provenance.trained_on(moved)
        == "a GPU, a CPU"
    )
