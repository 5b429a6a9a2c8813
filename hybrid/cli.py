"""The command line, `hybrid`.

Results go to standard output, progress and warnings to standard error. hybrid COMMAND --help shows examples;
hybrid --version prints the version.

Exit status: 0 done; 2 wrong input, explained in one line; 75 stopped by the time limit; 130 and 143 stopped by Ctrl-C or
SIGTERM. After 75, 130 or 143, the same command continues, or starts again if it kept nothing.

Shell completion: hybrid --tyro-print-completion bash > ~/.local/share/bash-completion/completions/hybrid (or zsh, tcsh);
make that folder first, with mkdir -p.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import errno
import inspect
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path

import tyro

from hybrid import __version__, paths
from hybrid.commands.running import evaluate, expect, reproduce, train
from hybrid.commands.studying import bench, bounds, factors, screen, tradeoff
from hybrid.commands.using import data, diagnose, embed, explain, interpolate, neighbours, probe, release, sample
from hybrid.errors import HybridError, TimeUp

STOPPED = 75  # exit status of a run stopped by its time limit; the same command continues it (EX_TEMPFAIL in sysexits.h)

# A path cannot be written: no permission, a read-only file system, a file in place of a folder or the reverse.
UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)

COMMANDS = (
    *(reproduce, train, evaluate, sample, interpolate, embed, probe, neighbours),
    *(diagnose, release, data, explain, bench, screen, expect, bounds, factors, tradeoff),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 2, 75, 130 or 143 (see the module's docstring).

    Every status except 0 comes with one line on standard error. If torchrun starts several processes, only the first one
    prints results, but each one prints its own errors. If a reader such as `head` closes the pipe, the status is 141.
    """
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports the pipe when it exits
        return 141


def _run(arguments: list[str] | None) -> int:
    logging.basicConfig(format="%(message)s")
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["--version"]:
        print(f"hybrid {__version__}")
        return 0
    # The help of hybrid has one line per command; the help of a command has the rest.
    commands = {command.__name__: _deferred(command, brief=given in ([], ["-h"], ["--help"])) for command in COMMANDS}
    if (wrong := _unknown_command(given, tuple(commands)) or _named_place(given)) is not None:
        print(f"hybrid: {wrong}", file=sys.stderr)
        return 2
    command = tyro.extras.subcommand_cli_from_dict(commands, prog="hybrid", description=__doc__, args=arguments)
    is_first, started = True, False
    try:
        with signals():
            from hybrid.machine import distributed

            distributed.start()
            started = True
            is_first = distributed.rank() == 0
            with contextlib.nullcontext() if is_first else contextlib.redirect_stdout(None):
                contextvars.copy_context().run(command)  # what it sets, such as strict, ends with it
    except TimeUp as stop:
        if is_first:
            print(stop, file=sys.stderr)
        return STOPPED
    except Interrupted as stop:
        if is_first:
            print(f"{stop}; {_kept(command)}", file=sys.stderr)
        return stop.status
    except HybridError as error:
        print(f"hybrid: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in UNUSABLE or error.filename is None:
            raise
        ours = Path(error.filename).resolve().is_relative_to(paths.home().resolve())
        instead = "set HYBRID_HOME to another folder" if ours else "give another path"
        advice = f"make sure that you can write to it, or {instead}"
        print(f"hybrid: {error.filename} cannot be used ({error.strerror}): {advice}", file=sys.stderr)
        return 2
    finally:
        if started:
            distributed.stop()
    return 0


class Interrupted(BaseException):
    """A signal, such as Ctrl-C's, asks the command to end."""

    def __init__(self, number: int):
        self.status = 128 + number  # the convention of shells
        super().__init__(f"hybrid: stopped by {signal.Signals(number).name}")


def _kept(command: partial) -> str:
    """Say what a stopped command leaves, and what the same command does next."""
    name = command.func.__name__
    if name == "embed":
        from hybrid.workflows.embed import kept_in

        folder = kept_in(inspect.signature(command.func).bind(*command.args, **command.keywords).arguments["out"])
        return f"finished codes are in {folder}; the same command continues from there, then removes it"
    if name in (trains.__name__ for trains in (reproduce, train, evaluate, release, screen, bounds, factors, tradeoff)):
        return (
            f"finished work is in {paths.home()}, with a checkpoint of a running training from the last minute; "
            "the same command continues from there"
        )
    if name == bench.__name__:
        return "the pairs that were measured are in the table; --pairs measures the others"
    return "nothing was kept; the same command starts again"


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM raise Interrupted, once. A second signal ends the process at once."""

    def interrupt(number: int, _) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # shells let background jobs ignore Ctrl-C
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _deferred(command: Callable[..., None], brief: bool) -> Callable[..., Callable[[], None]]:
    """Return a function that takes the command's arguments and returns a call to run later. If `brief`, its help is a line."""
    deferred = wraps(command)(lambda *arguments, **named: partial(command, *arguments, **named))
    text = inspect.getdoc(command) or ""
    # Each option's meaning on one line: completion in bash would offer the words of a second line.
    deferred.__doc__ = text.partition("\n")[0] if brief else re.sub(r"\n {8}(?=\S)", " ", text)
    deferred.__signature__ = inspect.signature(command)  # type: ignore[attr-defined]
    deferred.__annotations__ = inspect.get_annotations(command, eval_str=True)  # tyro would look for their names in this module
    del deferred.__wrapped__  # tyro would read the original docstring
    return deferred


def _unknown_command(arguments: list[str], commands: tuple[str, ...]) -> str | None:
    """Return an error message if the first argument is neither a command nor an option, else None."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in commands:
        return None
    near = difflib.get_close_matches(arguments[0], commands, n=1)
    meant = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(commands)}"
    return f"{arguments[0]!r} is not a command: {meant}"


def positional(command: Callable[..., None]) -> list[str]:
    """Return the names of the arguments that a command takes by their place, without --name."""
    return [name for name, each in inspect.signature(command).parameters.items() if "Positional[" in str(each.annotation)]


def _named_place(arguments: list[str]) -> str | None:
    """Return a hint if an argument that has a place is given as an option, else None."""
    for command in COMMANDS:
        for name in positional(command) if arguments[:1] == [command.__name__] else ():
            if any(each.partition("=")[0] == f"--{name}" for each in arguments):
                return f"--{name} is not an option: give {name.upper()} alone, as in hybrid {command.__name__} {name.upper()}"
    return None


if __name__ == "__main__":
    sys.exit(main())
