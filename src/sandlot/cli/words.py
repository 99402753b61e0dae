"""A command's parser, derived from its operation's request."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from enum import StrEnum
from typing import Any, NoReturn

from sandlot.cli.groups import EXTRA, WIDEST, Path, columns
from sandlot.errors import UsageError
from sandlot.operations.operation import Argument, Operation
from sandlot.settings import duration, size

__all__ = [
    "Formatter",
    "Parser",
    "add_arguments",
    "build",
    "exit_status",
    "parse",
    "parser_of",
    "request_of",
    "takes_command",
]

ID_ONLY = frozenset({"workspace_create", "workspace_fork", "workspace_list"})
WITHOUT_STDIN = frozenset({"service_start", "shell_open"})
_METAVARS = {"duration": "DURATION", "size": "SIZE"}
_PLURALS = {
    "labels": "label",
    "clear_labels": "clear-label",
    "toolchains": "toolchain",
    "keys": "key",
    "secrets": "secret",
    "hosts": "host",
    "parent": "from",
}


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help"
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            from difflib import get_close_matches

            first = message.removeprefix(prefix).split(" ")[0]
            close = get_close_matches(first.partition("=")[0], self._option_string_actions, 1)
            if first.startswith("-") and close:
                hint = f"did you mean {close[0]}?"
            elif self.takes_command:
                hint = f"put the command to run behind --, as in: {self.prog} ... -- {first}"
        raise UsageError(_sentence(message), hint=hint)

    takes_command = False

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from difflib import get_close_matches

            known = [str(each) for each in action.choices]
            close = get_close_matches(str(value), known, 1)
            name = (action.option_strings or [str(action.metavar or action.dest)])[-1]
            hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(known)}"
            raise UsageError(f"{name} cannot be {value!r}", hint=hint)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse takes no positional words behind an option when the first ones were enough: ID --stat PATH."""
        return self.parse_intermixed_args(args, namespace)


def _sentence(message: str) -> str:
    """What argparse says, as we say things."""
    missing = "the following arguments are required: "
    if message.startswith(missing):
        names = message.removeprefix(missing)
        return f"{names} is missing" if "," not in names else f"{names} are missing"
    name, colon, rest = message.removeprefix("argument ").partition(": ")
    if not colon or not message.startswith("argument "):
        return message
    if rest.startswith("expected "):
        return f"{name} needs a value"
    if rest.startswith("invalid int value: "):
        return f"{name}: {rest.removeprefix('invalid int value: ')} is not a whole number"
    if rest.startswith("invalid float value: "):
        return f"{name}: {rest.removeprefix('invalid float value: ')} is not a number"
    return f"{name}: {rest}"


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Examples as they are written, the summary wrapped."""

    def __init__(self, prog: str, **options: Any) -> None:
        # Without a width argparse asks shutil, whose import costs more than all the rest of the parser.
        super().__init__(prog, **{"width": max(40, min(WIDEST, columns()) - 2), **options})

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def parser_of(path: Path, examples: tuple[str, ...]) -> Parser:
    """The parser of a command that is no operation, without its arguments; ``groups`` has its summary."""
    return Parser(
        prog=" ".join(("sandlot", *path)),
        description=EXTRA[path],
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
        formatter_class=Formatter,
        allow_abbrev=False,
    )


def parse(parser: argparse.ArgumentParser, words: list[str], json_wanted: bool) -> argparse.Namespace:
    """The words behind such a command; ``json_wanted``: ``--json`` stood somewhere. Raises UsageError."""
    missing = ["--json"] if json_wanted and "--json" not in words else []
    parsed: argparse.Namespace = parser.parse_args([*words, *missing])
    return parsed


def takes_command(operation: Operation[Any, Any]) -> bool:
    """Whether the words behind ``--`` are a command to run."""
    return any(about.kind == "command" for _, about in operation.arguments())


def exit_status(operation: Operation[Any, Any], result: Any) -> int:
    """0, except where the answer itself is "no"."""
    return 1 if operation.name in ("doctor", "service_start") and not result.ok else 0


def build(operation: Operation[Any, Any], *, prog: str = "sandlot") -> Parser:
    """The parser of one command."""
    parser = Parser(
        prog=" ".join((prog, *operation.command)),
        description=operation.summary,
        epilog="examples:\n" + "\n".join(f"  {line}" for line in operation.examples) if operation.examples else None,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.takes_command = takes_command(operation)
    add_arguments(parser, operation)
    parser.usage = _usage(parser, operation)
    return parser


def _usage(parser: Parser, operation: Operation[Any, Any]) -> str:
    """The order of things in one line; the options are listed below it."""
    parts = [parser.prog, "[OPTION...]"]
    for action in parser._get_positional_actions():
        name = str(action.metavar)
        parts.append({"?": f"[{name}]", "*": f"[{name}...]"}.get(str(action.nargs), name))
    if takes_command(operation):
        parts.append("-- COMMAND [ARG...]")
    return " ".join(parts).replace("%", "%%")


def add_arguments(parser: argparse.ArgumentParser, operation: Operation[Any, Any]) -> None:
    """Everything the operation takes, and the options that every command has."""
    hints = typing.get_type_hints(operation.request)
    optional = []
    for field, about in operation.arguments():
        if about.positional and about.kind != "command":
            _positional(parser, field, about, _plain(hints[field.name]))
        else:
            optional.append((field, about))
    for field, about in optional:
        _option(parser, field, about, _plain(hints[field.name]))
    parser.add_argument("--json", action="store_true", help="print the answer, or the error, as JSON")
    if operation.name in ID_ONLY:
        parser.add_argument("--id-only", action="store_true", help="print ids alone, one a line")
    if takes_command(operation) and operation.name not in WITHOUT_STDIN:
        parser.add_argument("-i", "--stdin", action="store_true", help="pass our standard input on to the command")
    if operation.name == "workspace_exec":
        parser.add_argument(
            "--id-only", action="store_true", help="with --background: print the command's number alone"
        )


def _plain(hint: Any) -> Any:
    """The type itself, of a type that may also be None."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next(each for each in typing.get_args(hint) if each is not type(None))
    return hint


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def _convert(about: Argument, kind: Any) -> Any:
    if about.kind == "size":
        return _typed(size)
    if about.kind == "duration":
        return _typed(_checked_duration)
    return {int: int, float: float}.get(kind, str)


def _typed(parse: Any) -> Any:
    def convert(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(f"{error.message}; {error.hint}") from None

    return convert


def _checked_duration(text: str) -> str:
    duration(text)
    return text


def _positional(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], about: Argument, kind: Any) -> None:
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    many = typing.get_origin(kind) is tuple
    parser.add_argument(
        field.name,
        help=_help(about),
        metavar=about.metavar or field.name.upper(),
        nargs="*" if many else None if required else "?",
        default=None if required else _default(field),
        type=_convert(about, kind),
    )


def _help(about: Argument) -> str:
    return about.help.replace("%", "%%")


def _option(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], about: Argument, kind: Any) -> None:
    if about.kind == "command":
        return  # everything after "--"
    if about.kind == "content":
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--text", dest=field.name, metavar="TEXT", help=_help(about))
        group.add_argument("--from-file", metavar="FILE", help="take it from this host file [default: standard input]")
        return
    words = [f"--{_PLURALS.get(field.name, field.name).replace('_', '-')}"]
    if about.kind == "secret":
        words = ["--from"]
    if about.short:
        words.insert(0, f"-{about.short}")
    common: dict[str, Any] = {"dest": field.name, "help": _help(about)}
    if kind is bool:
        parser.add_argument(*words, action="store_true", **common)
        return
    common["metavar"] = about.metavar or _METAVARS.get(about.kind) or field.name.upper()
    if about.kind == "pairs" or typing.get_origin(kind) is tuple:
        parser.add_argument(*words, action="append", default=[], **common)
        return
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        common["metavar"] = None
        common["choices"] = [each.value for each in kind]
    elif field.default not in (None, dataclasses.MISSING, ""):
        common["help"] += f" [default: {_short(field.default) if about.kind == 'size' else field.default}]"
    parser.add_argument(*words, default=_default(field), type=_convert(about, kind), **common)


def _short(count: int) -> str:
    """A size the way it is typed."""
    for unit, factor in (("M", 1 << 20), ("K", 1 << 10)):
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def request_of(operation: Operation[Any, Any], parsed: argparse.Namespace, command: list[str] | None) -> Any:
    """The request that the parsed words state. Raises UsageError."""
    hints = typing.get_type_hints(operation.request)
    values: dict[str, Any] = {}
    for field, about in operation.arguments():
        kind = _plain(hints[field.name])
        if about.kind == "command":
            values[field.name] = tuple(command or ())
            continue
        value = getattr(parsed, field.name)
        if about.kind == "pairs":
            value = dict(_pair(text, about) for text in value)
        elif typing.get_origin(kind) is tuple:
            value = tuple(value)
        elif isinstance(kind, type) and issubclass(kind, StrEnum) and value is not None:
            value = kind(value)
        values[field.name] = value
    return operation.request(**values)


def _pair(text: str, about: Argument) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r} is not {about.metavar}")
    return key, value
