"""The provenance of a training or a result, stored in each checkpoint and with each result."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from hybrid.machine import distributed, precision
from hybrid.paths import REPOSITORY

DATA = {"dataset": "", "sha256": "SHA-256 "}  # what a summary says of the data, with titles
PACKAGES = ("torch", "torchvision", "numpy", "timm", "scikit-learn")


def provenance(**details) -> dict:
    """Return command, commit, versions and time, with `details` such as device, profile, seed and the data's SHA-256."""
    program = Path(sys.argv[0]).name
    program = "hybrid" if program == "cli.py" else program  # python -m hybrid.cli
    return {
        # A notebook kernel's arguments name a temporary file and cannot be repeated; profile, data set and seed can.
        "command": "a notebook" if program == "ipykernel_launcher.py" else shlex.join([program, *sys.argv[1:]]),
        **code(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions(),
        **details,
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on."""
    return {name: version(name) for name in PACKAGES}


def summary(origin: dict, key: dict, source: str) -> dict:
    """Return the most important facts about a number or figure, from its provenance and the key of its outcome."""
    changed = " with changes that were not committed" if origin.get("dirty") else ""
    trained = origin.get("trained") or {}
    stages = {"first stage": trained} if "command" in trained else trained
    return {
        "made from": source,
        "command": origin.get("command"),
        "commit": f"{origin.get('commit') or 'not recorded'}{changed}",
        "date": origin.get("date"),
        "data": ", ".join(f"{title}{origin[part]}" for part, title in DATA.items() if origin.get(part)) or None,
        "seed": origin.get("seed"),
        "weights": origin.get("weights")
        or (key.get("training") and f"of the training whose histories have SHA-256 {key['training']}"),
        "trained": "; ".join(f"{n}: {o.get('command')}, {o.get('device')}" for n, o in stages.items()) or None,
        "precision": origin.get("precision"),
        "device": origin.get("device"),
        "again": again(origin, source, "reproduce"),
    }


def again(origin: dict, source: str, *commands: str) -> str | None:
    """Return the commands, such as train and evaluate, that make a file named `source` again, or None if that is not known.

    The name tells the method. The path of a folder or .npz is the one in the recorded command; if there is none, a
    comment says what to give.
    """
    profile, dataset = origin.get("profile"), str(origin.get("dataset"))
    name = profile.get("name") if isinstance(profile, dict) else profile
    if not name:
        return None
    where = ""
    if own := re.fullmatch(r"(.+)-[0-9a-f]{8}", dataset):  # the name of a folder or an .npz, with the digest of its images
        stem = own[1]
        found = next((path for path in _datasets(origin) if Path(path).name.removesuffix(".npz") == stem), None)
        if found is None:
            where = f"  # PATH: that of the folder or .npz {stem}, which was not recorded"
        elif not Path(found).expanduser().is_absolute():
            where = f"  # in the folder that {found} is relative to"
        dataset = found or "PATH"
    if origin.get("weights"):  # released ones; `hybrid reproduce` would train others
        values = {"profile": name, "dataset": dataset, "seed": str(origin.get("seed"))}
        parameters = [word for key, value in values.items() for word in ("-p", key, value)]
        return shlex.join(["papermill", f"notebooks/{Path(source).stem}.ipynb", "out.ipynb", *parameters])
    options = ["--profile", name, "--dataset", dataset, "--seed", str(origin.get("seed"))]
    if Path(source).suffix in (".npz", ".json", ".jsonl"):
        stem = Path(source).stem
        options += ["--methods", "hybridplus" if stem == "figure6" else re.sub(r"^figure\d$|-.*", "", stem) or "hybrid"]
    return " && ".join(f"hybrid {command} {shlex.join(options)}" for command in commands) + where


def _datasets(origin: dict) -> Iterator[str]:
    """Yield the values of --dataset in the recorded commands."""
    for each in (origin, *(origin.get("trained") or {}).values()):
        with contextlib.suppress(ValueError):  # words that no shell wrote
            words = shlex.split(str(each.get("command")))
            for word, following in zip(words, [*words[1:], ""], strict=True):
                if word.startswith("--dataset="):
                    yield word.partition("=")[2]
                elif word == "--dataset":
                    yield following


def resumed(before: dict, now: dict) -> dict:
    """Return the provenance of a resumed training: `before`, with `now` added to its list `resumed` if code, device or versions
    have changed."""
    earlier = before.get("resumed", [])
    last = [before, *earlier][-1]
    if all(now[key] == last.get(key) for key in ("commit", "dirty", "device", "precision", "python", "versions")):
        return before
    return before | {"resumed": [*earlier, now]}


@cache
def code() -> dict:
    """Return the code's `commit`, and whether it has uncommitted changes (`dirty`); both None without git.

    The values are those of the first call in this process. If the code is used without its repository, for example in a
    container, HYBRID_COMMIT can name the commit.
    """
    if git("ls-files", "--error-unmatch", Path(__file__).name, cwd=Path(__file__).parent) is None:
        # No repository, or that of another project in which this package is installed.
        return {"commit": os.environ.get("HYBRID_COMMIT"), "dirty": None}
    files = "hybrid", "notebooks", "pyproject.toml", ":!hybrid/weights"  # weights are no code: to release some changes none
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *files)
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}


def device_in_words(device: torch.device) -> str:
    """Name the machine for readers, such as "2 cores of AMD EPYC" or, for eight processes, "8 x NVIDIA H100"."""
    several = f"{distributed.world()} x " if distributed.world() > 1 else ""
    if device.type != "cpu":
        return several + precision.gpu_name(device)
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    threads = torch.get_num_threads()
    kind = names[0] if names else platform.processor() or platform.machine()
    return f"{several}{threads} core{'s' if threads > 1 else ''} of {kind}"


def trained_on(*origins: dict) -> str:
    """Name the devices on which these outcomes were trained, each once. Where that is not known, name those that judged.

    An origin may also be that of one training.
    """
    stages = [stage for origin in origins for stage in (origin.get("trained") or {"": origin}).values()]
    return ", ".join(dict.fromkeys(each["device"] for stage in stages for each in (stage, *stage.get("resumed", ()))))


def machine(device: torch.device) -> dict[str, str]:
    """Return details for `provenance`: `device`, the networks' `precision`, and the CPU's vector and matrix `instructions`."""
    matrix = any("amx_bf16" in line.split() for line in _cpuinfo() if line.startswith("flags"))
    return {
        "device": device_in_words(device),
        "precision": precision.name(device),
        "instructions": precision.instructions() + " and AMX" * matrix,
    }


def peak_memory(device: torch.device) -> float:
    """Return this process's peak memory so far, in GiB: GPU memory if `device` is a GPU, else main memory."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    if os.name == "nt":  # which has no such count
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return round(peak / (2**30 if sys.platform == "darwin" else 2**20), 2)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []


def git(*arguments: str, cwd: Path = REPOSITORY) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, encoding="utf-8", errors="replace", check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
