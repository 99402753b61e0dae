"""A server of the SDK for one surface: its lists, its prompt, and its calls, which run in threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from sandlot._version import __version__
from sandlot.errors import SandlotError, UsageError
from sandlot.mcpserver.answering import Answer
from sandlot.mcpserver.calls import PATIENCE_S, Work
from sandlot.mcpserver.cleaning import one_line
from sandlot.mcpserver.creating import Creating
from sandlot.mcpserver.failures import failure_text
from sandlot.mcpserver.host_paths import names_host
from sandlot.mcpserver.project import Project, ProjectOptions, folder_of_root
from sandlot.mcpserver.tools import Tool, exists, find_tool, tools_of
from sandlot.modes import StartupMode, Surface, surface
from sandlot.paths import Paths
from sandlot.sdk import Sandlot
from sandlot.settings import Settings
from sandlot.workspaces.cancellation import Cancelled

__all__ = ["SandlotServer", "create_server"]

THREADS = 64
"""How many calls run at the same time; more wait."""
PROGRESS_S = 5.0
"""How often progress is told to a client that has asked for it."""
LONGEST_CALL_S = 55.0
"""A call that takes longer, for a client that does not ask for progress, is answered while its work goes on: hosts give
up after 60 s."""
ROOTS_WAIT_S = 2.0
LARGEST_ARGUMENTS = 12 << 20
"""Characters of all texts in the arguments of one call."""
FRESH_MS = 60_000
"""How long lists may be kept by clients: they never change while a server runs, but the next may have another mode."""

GUIDE = "sandlot://guide"
"""The one resource: the instructions, for hosts that do not show them to their model by themselves."""
_FIXED: tuple[CacheableMethod, ...] = (
    "tools/list", "prompts/list", "server/discover", "resources/list", "resources/templates/list", "resources/read",
)  # fmt: skip

Context = ServerRequestContext[Any, Any]


class SandlotServer(Server[None]):
    """The SDK's server with sandlot's tools; ``busy`` counts the calls that are on their way."""

    def __init__(
        self,
        shown: Surface,
        options: ProjectOptions,
        sandlot: Sandlot,
        state_folder: str,
        *,
        ask_roots: bool,
        creating: Creating | None = None,
    ) -> None:
        """``state_folder`` is where ``sandlot`` keeps its state; ``ask_roots``: ask clients for their folders.

        ``creating``: what the user has decided about new workspaces."""
        fresh = CacheHint(ttl_ms=FRESH_MS, scope="private")
        super().__init__(
            "sandlot",
            version=__version__,
            instructions=shown.instructions,
            cache_hints=dict.fromkeys(_FIXED, fresh),
            lifespan=_lifespan,
            get_tool_input_schema=self._schema,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )
        self.middleware.clear()  # its one entry only tells OpenTelemetry, which nobody has asked for
        self.shown = shown
        self.tools = tools_of(shown)
        self.sandlot = sandlot
        self._state_folder = state_folder
        self.busy = 0
        self.patience_s = PATIENCE_S
        self.progress_s = PROGRESS_S
        self.longest_call_s = LONGEST_CALL_S
        self._options = options
        self._ask_roots = ask_roots
        self._creating = creating or Creating()
        self._pool = ThreadPoolExecutor(THREADS, "sandlot-call")

    def close(self) -> None:
        """Let go of the threads and of the state; workspaces go on."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.sandlot.close()

    def _schema(self, name: str) -> dict[str, Any] | None:
        return next((each.input_schema for each in self.tools if each.name == name), None)

    async def _list_tools(
        self, _context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        _no_cursor(params)
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=each.name,
                    description=each.description,
                    input_schema=each.input_schema,
                    annotations=types.ToolAnnotations.model_validate(each.annotations),
                )
                for each in self.tools
            ]
        )

    async def _list_prompts(
        self, _context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        _no_cursor(params)
        prompt = self.shown.prompt
        return types.ListPromptsResult(prompts=[types.Prompt(name=prompt.name, description=prompt.description)])

    async def _get_prompt(self, _context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        prompt = self.shown.prompt
        if params.name != prompt.name:
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {params.name[:80]!r}; there is {prompt.name!r}")
        message = types.PromptMessage(role="user", content=types.TextContent(type="text", text=prompt.text))
        return types.GetPromptResult(description=prompt.description, messages=[message])

    async def _list_resources(
        self, _context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        _no_cursor(params)
        about = f"How to work with the tools of {self.shown.name}"
        guide = types.Resource(uri=GUIDE, name="guide", description=about, mime_type="text/plain")
        return types.ListResourcesResult(resources=[guide])

    async def _list_templates(
        self, _context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        _no_cursor(params)
        return types.ListResourceTemplatesResult(resource_templates=[])

    async def _read_resource(
        self, _context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        if str(params.uri) != GUIDE:
            raise MCPError(types.INVALID_PARAMS, "there is no such resource", {"uri": one_line(str(params.uri))})
        text = types.TextResourceContents(uri=GUIDE, mime_type="text/plain", text=self.shown.instructions)
        return types.ReadResourceResult(contents=[text])

    async def _call_tool(self, context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = params.arguments or {}
        tool: Tool | None = None
        try:
            try:
                tool = find_tool(self.tools, self.shown, params.name)
            except UsageError as error:
                if not exists(params.name):
                    text = f"{error.message} in {self.shown.name}"
                    raise MCPError(types.INVALID_PARAMS, one_line(text)) from None
                raise
            _bounded(arguments)
            answer = await self._answered(context, tool, arguments)
        except SandlotError as error:
            workspace = one_line(str(arguments.get("workspace", "")), 80)
            return _failed(failure_text(error, tool, self.tools, workspace))
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=answer.text)], structured_content=answer.structured
        )

    async def _answered(self, context: Context, tool: Tool, arguments: dict[str, Any]) -> Answer:
        project = await self._project(context, tool)
        shown = frozenset(each.name for each in self.tools)
        work = Work(self.sandlot, self._state_folder, tool, shown, self.patience_s, self._creating)
        asked_for_progress = "progressToken" in ((context.params or {}).get("_meta") or {})
        self.busy += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, _run, work, arguments, project)
        future.add_done_callback(self._one_less)
        try:
            return await self._followed(context, work, future, asked_for_progress)
        except asyncio.CancelledError:
            work.cancellation.cancel()
            with anyio.CancelScope(shield=True):  # the call has ended when we have: its command is gone
                await asyncio.wait([future])
            raise

    def _one_less(self, future: asyncio.Future[Any]) -> None:
        self.busy -= 1
        if not future.cancelled():
            future.exception()  # looked at, also when nobody waits for it any more

    async def _followed(
        self, context: Context, work: Work, future: asyncio.Future[Answer], asked_for_progress: bool
    ) -> Answer:
        """The answer, with progress meanwhile."""
        begun = time.monotonic()
        while True:
            await asyncio.wait([future], timeout=self.progress_s)
            if future.done():
                return future.result()
            passed = time.monotonic() - begun
            await context.session.report_progress(round(passed, 1), message=work.progress.words or "at work")
            if not asked_for_progress and passed > self.longest_call_s:
                return Answer(
                    f"{work.tool.name} has not ended after {passed:.0f} s"
                    + (f" ({work.progress.words})" if work.progress.words else "")
                    + "; it goes on. Do not repeat it: workspace_list and workspace_status show what has come of it."
                )

    async def _project(self, context: Context, tool: Tool) -> Project:
        roots: tuple[str, ...] = ()
        if self._ask_roots and names_host(tool.operation):
            roots = await self._roots(context)
        return Project.find(self._options, os.environ, roots)

    async def _roots(self, context: Context) -> tuple[str, ...]:
        """The client's project folders, if it tells them (handshake era only; the modern one has no such request)."""
        capabilities = context.session.client_capabilities
        decided = self._options.path or self._options.repo_url or self._options.no_source
        if decided or os.environ.get("CLAUDE_PROJECT_DIR"):
            return ()
        if capabilities is None or capabilities.roots is None or not context.session.can_send_request:
            return ()
        with contextlib.suppress(MCPError), anyio.move_on_after(ROOTS_WAIT_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecated from 2026-07-28 on, and all there is before
            found = await context.session.list_roots()
            folders = (folder_of_root(str(each.uri)) for each in found.roots[:20])
            return tuple(each for each in folders if each is not None)
        return ()


def _run(work: Work, arguments: dict[str, Any], project: Project) -> Answer:
    try:
        return work.run(arguments, project)
    except Cancelled:
        return Answer("")  # nobody waits for it
    except SandlotError:
        raise
    except Exception as error:
        raise _internal(error) from error


class InternalError(SandlotError):
    """A bug of ours."""

    code = "internal_error"


def _internal(error: Exception) -> InternalError:
    return InternalError(f"unexpected {type(error).__name__}: {error}", hint="this is a bug in sandlot: report it")


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


def _bounded(arguments: dict[str, Any]) -> None:
    """Refuse what no call can mean. Raises UsageError."""
    total = sum(len(value) for value in arguments.values() if isinstance(value, str))
    if total > LARGEST_ARGUMENTS:
        raise UsageError(f"the arguments have {total} characters; at most {LARGEST_ARGUMENTS} are taken")


def _no_cursor(params: types.PaginatedRequestParams | None) -> None:
    if params is not None and params.cursor is not None:
        raise MCPError(types.INVALID_PARAMS, "there is one page only: leave cursor out")


@contextlib.asynccontextmanager
async def _lifespan(_server: Server[None]) -> AsyncIterator[None]:
    yield None


def create_server(
    mode: StartupMode | str | None = None,
    *,
    profile: str | None = None,
    read_only: bool = False,
    project_path: str | os.PathLike[str] | None = None,
    repo_url: str | None = None,
    repo_ref: str | None = None,
    project_source: bool = True,
    export_dir: str | os.PathLike[str] | None = None,
    environment: str | None = None,
    runtime: str | None = None,
    min_isolation: str | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    ask_roots: bool = True,
) -> SandlotServer:
    """An MCP server of the official SDK with the tools of a startup mode.

    ``mode`` excludes ``profile``; without both it is ``workspace-core``. ``project_path``, ``repo_url`` (with
    ``repo_ref``) or ``project_source=False`` say what new workspaces are made from; without them it is the client's
    project folder. Exports go below the project, or ``export_dir``. ``ask_roots``: ask clients for their folders.
    ``environment``: what new workspaces have inside besides the project; None: the user's setting for the mode.
    ``runtime``, ``min_isolation``: what isolates them, and the least they are isolated; clients can only demand more.
    Raises UsageError, PathNotFound.
    """
    options = ProjectOptions(
        None if project_path is None else os.fspath(project_path),
        repo_url,
        repo_ref,
        not project_source,
        None if export_dir is None else os.fspath(export_dir),
    ).checked()
    paths = Paths.default() if state_dir is None else Paths.at(Path(state_dir))
    shown = surface(mode, profile=profile, read_only=read_only)
    if environment is None:
        environment = getattr(Settings.load(), "environment_" + shown.name.replace("-", "_"), "default")
        environment = "" if environment == "default" else environment
    creating = Creating.of(environment, runtime, min_isolation)
    return SandlotServer(
        shown, options, Sandlot(state_dir), os.fspath(paths.state), ask_roots=ask_roots, creating=creating
    )
