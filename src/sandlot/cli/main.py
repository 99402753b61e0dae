"""Entry point: find the command, parse, run, print, exit."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from sandlot._version import __version__

__all__ = ["main"]

OWN_FAILURE = 125
"""Exit status of our own errors where the command's status is passed on (as in env(1) and docker)."""
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["--version"], ["-V"]):
        print(f"sandlot {__version__}")
        sys.exit(0)
    gc.disable()  # while modules load nothing is garbage; looking for it costs milliseconds
    try:
        _prepare()
        status = _dispatch(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # Or the interpreter complains while it closes them.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        status = BROKEN_PIPE
    except KeyboardInterrupt:  # ctrl-C while something was printed, or once more while things were ended
        status = 130
    gc.freeze()  # the interpreter looks for cycles three times while it ends, with nobody to gain from it
    sys.exit(status)


def _prepare() -> None:
    """Streams that can take anything, signals that leave through every finally, completion."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            number = ("stdin", "stdout", "stderr").index(name)
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  lives as long as we do
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a name may fit no locale
    if "_ARGCOMPLETE" in os.environ:
        from sandlot.cli.completion import complete

        complete()
    import resource
    import signal

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard:  # no core, on ctrl-\\ say: values of secrets are in our memory; runtimes/bubblewrap/limiting.py says why 1
        resource.setrlimit(resource.RLIMIT_CORE, (1, hard))
    for number in (signal.SIGTERM, signal.SIGHUP):  # a one-shot workspace is deleted
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _terminated)


def _terminated(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _dispatch(words: list[str]) -> int:
    from sandlot.cli.answer import Interrupted, internal, print_error
    from sandlot.cli.groups import find
    from sandlot.errors import SandlotError

    options, command = _split(words)
    if options[:1] == ["help"]:
        options = [*options[1:], "--help"]
    json_wanted = "--json" in options
    passes = False
    try:
        name, rest, group = find(options)
        if name is None:
            return _without_operation(group, rest, json_wanted, command)
        from sandlot.cli.run import execute
        from sandlot.operations import catalog

        operation = catalog.load(name)
        passes = operation.passes_exit_code
        gc.freeze()
        gc.enable()
        return execute(operation, rest, command)
    except SandlotError as error:
        print_error(error, json_wanted=json_wanted)
        return OWN_FAILURE if passes else error.exit_status
    except KeyboardInterrupt:
        print_error(Interrupted("interrupted"), json_wanted=json_wanted)
        return Interrupted.exit_status
    except BrokenPipeError:
        raise
    except Exception as error:  # a bug of ours: a person must not have to read a traceback
        print_error(internal(error), json_wanted=json_wanted)
        return OWN_FAILURE if passes else internal(error).exit_status


def _split(words: list[str]) -> tuple[list[str], list[str] | None]:
    """Our words, and the command's (everything after the first ``--``), so options may come in any order before it."""
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _without_operation(group: tuple[str, ...], rest: list[str], json_wanted: bool, program: list[str] | None) -> int:
    """A group's help, one of the few commands that are no operations, or a mistake."""
    from sandlot.cli.groups import print_help, unknown
    from sandlot.errors import UsageError

    words = [word for word in rest if word != "--json"]
    if any(word in ("-h", "--help") for word in words[:1]):
        print_help(group, sys.stdout)
        return 0
    if not words:
        if json_wanted:
            raise UsageError("there is no command", hint=" ".join(("sandlot", *group, "--help")))
        print_help(group, sys.stderr)
        return 2
    if not group and words[0] in ("--version", "-V"):
        print(f'{{"version": "{__version__}"}}' if json_wanted else f"sandlot {__version__}")
        return 0
    if not group and words[0] == "demo":
        from sandlot.cli.demo import command

        return command(words[1:], json_wanted)
    if not group and words[0] == "completion":
        from sandlot.cli.completion import command as completion

        return completion(words[1:])
    if group == ("host",) and words[0] in ("list", "connect", "disconnect", "print-config", "doctor", "repair"):
        from sandlot.cli.host import command as host

        return host(words, json_wanted)
    if group == ("eval",) and words[0] in ("run", "resume", "merge", "report", "compare", "list"):
        from sandlot.cli.evals import command as evals

        return evals(words, json_wanted)
    if group == ("eval",) and words[0] in ("validate", "schema"):
        from sandlot.cli.eval_suites import command as suites

        return suites(words, json_wanted)
    if group == ("workspace", "shell") and (words[0] == "attach" or not words[0].startswith("-")):
        from sandlot.cli.shell import ATTACH, OPEN
        from sandlot.cli.shell import command as shell

        attach = words[0] == "attach"
        return shell(ATTACH if attach else OPEN, [*rest[1:]] if attach else rest, program)
    if group == ("pool",) and words[0] in ("list", "prune"):
        from sandlot.cli.pool import command as pool

        return pool(words, json_wanted)
    if group == ("mcp",) and words[0] == "serve":
        from sandlot.cli.mcp import command as serve

        return serve(words[1:])
    raise unknown(group, words[0])
