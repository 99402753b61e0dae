"""``sandlot mcp serve``."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from sandlot.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from sandlot.cli.words import Parser
    from sandlot.mcpserver.server import SandlotServer

__all__ = ["EXAMPLES", "add_options", "command", "parser"]

EXAMPLES = (
    "sandlot mcp serve --mode repro-fix",
    "sandlot mcp serve --mode inspect --project-path ~/src/project",
    "sandlot mcp serve --mode review-eval --repo-url https://example.org/project.git --repo-ref v2.1",
    "sandlot mcp serve --mode repro-fix --http --port 8765 --token-file ~/.sandlot-token",
)
DEFAULT_PORT = 8765


def command(arguments: list[str]) -> int:
    """Serve until the client is gone, which on standard streams ends the process; the exit status."""
    parsed = parser().parse_args(arguments)
    _check(parsed)
    gc.freeze()
    gc.enable()  # this command stays
    if parsed.http:
        from sandlot.mcpserver.http import serve_http

        return serve_http(_server(parsed), parsed.port, parsed.token_file)
    from sandlot.mcpserver.stdio import serve_stdio

    name = parsed.mode or parsed.profile or "workspace-core"
    return serve_stdio(name, read_only=parsed.read_only, make=lambda: _server(parsed))


def parser() -> Parser:
    """What understands the words behind the command."""
    from sandlot.cli.words import Formatter, Parser

    made = Parser(
        prog="sandlot mcp serve",
        usage="sandlot mcp serve [OPTION...]",
        description="Serve the tools of a startup mode to a chat host, by the Model Context Protocol on standard "
        "streams. Hosts run this; `sandlot host connect` tells them to.",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in EXAMPLES),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    add_options(made)
    return made


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, as other commands that start a server take them, too."""
    shown = parser.add_argument_group("what is shown")
    modes = "repro-fix, inspect, cold-start, review-eval"
    shown.add_argument(
        "--mode", metavar="MODE", help=f"startup mode: {modes} [default: workspace-core, without a mode]"
    )
    shown.add_argument("--profile", metavar="PROFILE", help="instead of a mode: workspace-core or workspace-full")
    shown.add_argument("--read-only", action="store_true", help="only tools that change nothing in a workspace")
    project = parser.add_argument_group("what workspaces are made from [default: the client's project folder]")
    project.add_argument("--project-path", metavar="DIR", help="workspaces are made from this folder")
    project.add_argument("--repo-url", metavar="URL", help="workspaces are made from this git repository")
    project.add_argument("--repo-ref", metavar="REF", help="branch, tag or commit of --repo-url")
    project.add_argument("--no-project-source", action="store_true", help="workspaces are made empty")
    project.add_argument("--export-dir", metavar="DIR", help="exports go below this folder [default: the project]")
    inside = parser.add_argument_group("what is inside workspaces besides it")
    inside.add_argument(
        "--environment", metavar="ENV", help="a name of `sandlot env list` [default: the setting for the mode, or host]"
    )
    isolation = parser.add_argument_group("how workspaces are isolated")
    isolation.add_argument(
        "--runtime",
        metavar="RUNTIME",
        help="bubblewrap, qemu or auto, whatever a client asks for [default: bubblewrap]",
    )
    levels = "none, process, kernel, vm-emulated, vm"
    isolation.add_argument(
        "--min-isolation", metavar="LEVEL", help=f"the least, of {levels}; a client, or a mode, can only demand more"
    )
    network = parser.add_argument_group("how it is reached")
    network.add_argument("--http", action="store_true", help="streamable HTTP on 127.0.0.1 instead of standard streams")
    network.add_argument("--port", type=int, metavar="PORT", help=f"with --http [default: {DEFAULT_PORT}; 0: any]")
    network.add_argument(
        "--token-file", metavar="FILE", help="with --http: the token is in this file [default: a random one is printed]"
    )


def _check(parsed: argparse.Namespace) -> None:
    """Refuse at once what can never be served, before a client waits for an answer. Raises UsageError."""
    from sandlot.mcpserver.answers import known
    from sandlot.mcpserver.project import ProjectOptions

    if parsed.mode is not None and parsed.profile is not None:
        raise UsageError("--mode and --profile exclude each other", hint="leave one of them out")
    name = parsed.mode or parsed.profile
    if name is not None and (not known(name) or (parsed.profile is None) == name.startswith("workspace-")):
        from sandlot.modes import surface

        surface(parsed.mode, profile=parsed.profile)  # says what is wrong, and what there is
    for option, given in (("--port", parsed.port is not None), ("--token-file", parsed.token_file is not None)):
        if given and not parsed.http:
            raise UsageError(f"{option} needs --http")
    if parsed.runtime is not None or parsed.min_isolation is not None:
        from sandlot.mcpserver.creating import Creating

        Creating.of("", parsed.runtime, parsed.min_isolation)
    if parsed.port is None:
        parsed.port = DEFAULT_PORT
    if not 0 <= parsed.port < 1 << 16:
        raise UsageError(f"{parsed.port} is no port")
    _options(parsed, ProjectOptions)


def _options(parsed: argparse.Namespace, kind: type) -> object:
    return kind(
        parsed.project_path, parsed.repo_url, parsed.repo_ref, parsed.no_project_source, parsed.export_dir
    ).checked()


def _server(parsed: argparse.Namespace) -> SandlotServer:
    from sandlot.mcpserver.server import create_server

    return create_server(
        parsed.mode,
        profile=parsed.profile,
        read_only=parsed.read_only,
        project_path=parsed.project_path,
        repo_url=parsed.repo_url,
        repo_ref=parsed.repo_ref,
        project_source=not parsed.no_project_source,
        export_dir=parsed.export_dir,
        environment=parsed.environment,
        runtime=parsed.runtime,
        min_isolation=parsed.min_isolation,
        ask_roots=not parsed.http,
    )
