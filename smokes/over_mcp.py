"""A story's hands through the official MCP client and ``sandlot mcp serve --mode MODE`` over stdio, as a chat host.

What a story gets to know is read out of the very texts that a model sees (``answers``); nothing goes around them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters

import sandlot as package
from sandlot.mcpserver.tools import tools_of
from sandlot.modes import StartupMode, surface
from smokes import answers
from smokes.hands import EvalsSeen, Hands, Ran, Seen, ServiceSeen, isolated
from smokes.scene import CANARY, Scene
from smokes.story import expect, fail

__all__ = ["McpHands"]

_CALL_S = 60.0
_SHELL_PATIENCE_S = 30.0
_EVALS_PATIENCE_S = 300.0


class McpHands:
    """One chat: a client and the server that it has started."""

    via = "mcp"
    confined = True

    def __init__(self, scene: Scene, mode: StartupMode, runtime: str, portal: BlockingPortal, client: Client) -> None:
        self._scene, self._mode, self._runtime = scene, mode, runtime
        self._portal, self._client = portal, client

    @classmethod
    @contextmanager
    def open(cls, scene: Scene, mode: StartupMode, runtime: str) -> Iterator[Hands]:
        """A server of its own until the end of the block; workspaces go on."""
        server = StdioServerParameters(
            command=sys.executable,
            args=[
                "-m",
                "sandlot",
                "mcp",
                "serve",
                "--mode",
                mode,
                "--project-path",
                str(scene.project),
                "--runtime",
                runtime,
            ],
            env={**scene.environment(), "PYTHONPATH": _import_path()},
            cwd=scene.folder,
        )
        failure: Exception | None = None
        with start_blocking_portal() as portal:
            client = Client(server, read_timeout_seconds=_CALL_S)
            with portal.wrap_async_context_manager(client):
                try:
                    hands = cls(scene, mode, runtime, portal, client)
                    hands._look_around()
                    yield hands
                except Exception as error:  # the client's task groups would wrap it
                    failure = error
        if failure is not None:
            raise failure

    def _look_around(self) -> None:
        """The chat sees exactly its mode, with words for the model and a prompt for the user."""
        found = surface(self._mode)
        names = [each.name for each in self._portal.call(self._client.list_tools).tools]
        expect(names == [each.name for each in tools_of(found)], f"the server shows the tools of {found.name}", names)
        prompts = [each.name for each in self._portal.call(self._client.list_prompts).prompts]
        expect(prompts == [found.prompt.name], "it has the prompt of its mode", prompts)
        expect("workspace_create" in (self._client.instructions or ""), "it has instructions")

    @contextmanager
    def another(self) -> Iterator[Hands]:
        with McpHands.open(self._scene, self._mode, self._runtime) as hands:
            yield hands

    def refused(self, tool: str, /, **arguments: Any) -> str:
        text, failed, _ = self.ask(tool, arguments)
        return text if failed else fail(f"expected: {self._mode} refuses {tool} {arguments}", text)

    def create(
        self, name: str, *, labels: Mapping[str, str] | None = None, source: str | None = None, ref: str | None = None
    ) -> Seen:
        self._call("workspace_create", name=name, labels=labels, source=source, ref=ref)
        return isolated(self.status(name), self._runtime)

    def list(self, **labels: str) -> Sequence[Seen]:
        _, data = self._call("workspace_list", labels=labels or None)
        return [answers.workspace(row) for row in data["workspaces"]]

    def update(self, workspace: str, *, name: str | None = None, labels: Mapping[str, str] | None = None) -> None:
        self._call("workspace_update", workspace=workspace, name=name, labels=labels)

    def status(self, workspace: str) -> Seen:
        _, data = self._call("workspace_status", workspace=workspace)
        return answers.workspace(data)

    def delete(self, workspace: str) -> None:
        self._call("workspace_delete", workspace=workspace)

    def exec(self, workspace: str, command: str) -> Ran:
        return answers.ran(self._text("workspace_exec", workspace=workspace, command=command))

    def files(self, workspace: str, path: str = ".") -> Sequence[str]:
        return answers.files(self._text("file_list", workspace=workspace, path=path))

    def read(self, workspace: str, path: str) -> str:
        return answers.body(self._text("file_read", workspace=workspace, path=path))

    def search(self, workspace: str, pattern: str) -> Sequence[str]:
        return answers.matching(self._text("file_search", workspace=workspace, pattern=pattern))

    def patch(self, workspace: str, patch: str) -> None:
        self._call("patch_apply", workspace=workspace, patch=patch)

    def diff(self, workspace: str, *, to: str = "") -> str:
        return answers.patch(self._text("diff", workspace=workspace, to=to or None))

    def reset(self, workspace: str, to: str = "") -> None:
        self._call("workspace_reset", workspace=workspace, to=to or None)

    def summary(self, workspace: str) -> str:
        return answers.body(self._text("workspace_summary", workspace=workspace))

    def export(self, workspace: str, path: str, destination: str) -> None:
        self._call("workspace_export", workspace=workspace, path=path, destination=destination)

    def history(self, workspace: str) -> str:
        return answers.body(self._text("workspace_logs", workspace=workspace))

    def snapshot(self, workspace: str, name: str) -> None:
        self._call("snapshot_create", workspace=workspace, name=name)

    def service_start(self, workspace: str, name: str, command: str, *, ready_http: str) -> ServiceSeen:
        text = self._text("service_start", workspace=workspace, name=name, command=command, ready_http=ready_http)
        return answers.service(text)

    def service_status(self, workspace: str, name: str) -> ServiceSeen:
        return answers.service(self._text("service_status", workspace=workspace, name=name))

    def service_logs(self, workspace: str, name: str) -> str:
        return answers.body(self._text("service_logs", workspace=workspace, name=name))

    def service_stop(self, workspace: str, name: str) -> ServiceSeen:
        return answers.service(self._text("service_stop", workspace=workspace, name=name))

    def shell_open(self, workspace: str, name: str) -> None:
        self._call("shell_open", workspace=workspace, name=name)

    def shell_run(self, workspace: str, name: str, line: str, until: str) -> str:
        typed = self._text("shell_write", workspace=workspace, shell=name, text=line, enter=True)
        cursor, read, deadline = answers.cursor(typed), "", time.monotonic() + _SHELL_PATIENCE_S
        while until not in read:
            if time.monotonic() > deadline:
                fail(f"expected: the shell prints {until!r}", read)
            part = self._text("shell_read", workspace=workspace, shell=name, cursor=cursor, wait="5s")
            cursor, read = answers.cursor(part), read + answers.body(part)
        return read

    def shell_close(self, workspace: str, name: str) -> None:
        self._call("shell_close", workspace=workspace, shell=name)

    def eval_run(self, path: str) -> EvalsSeen:
        text, deadline = self._text("eval_run", paths=[path]), time.monotonic() + _EVALS_PATIENCE_S
        while (going := answers.going_on(text)) and time.monotonic() < deadline:
            text = self._text("eval_results", run=going, wait="50s")
        return answers.evals(text)

    def eval_answer(self, run: str, test: str) -> str:
        return answers.answer(self._text("eval_results", run=run, test=test))

    def eval_regressed(self, before: str, after: str) -> Sequence[str]:
        return answers.regressed(self._text("eval_compare", before=before, after=after))

    def _text(self, tool: str, **arguments: Any) -> str:
        return self._call(tool, **arguments)[0]

    def _call(self, tool: str, /, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """Text and data of an answer. Raises SmokeFailed when it is an error."""
        text, failed, data = self.ask(tool, {name: value for name, value in arguments.items() if value is not None})
        expect(not failed, f"{tool} works", text)
        return text, data

    def ask(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool, dict[str, Any]]:
        """Call a tool: the text of its answer, whether it is an error, and its data."""
        result = self._portal.call(self._client.call_tool, tool, arguments)
        text = "\n".join(each.text for each in result.content if each.type == "text")
        odd = {char for char in text if not char.isprintable() and char not in "\n\t"}
        expect(not odd, f"an answer of {tool} holds no control characters", sorted(map(hex, map(ord, odd))))
        expect(CANARY not in text.replace(f"{CANARY}-mark", ""), f"an answer of {tool} shows nothing of the host", text)
        return text, bool(result.is_error), result.structured_content or {}


def _import_path() -> str:
    """Where the server finds this very sandlot, and what it needs."""
    source = os.path.dirname(os.path.dirname(package.__file__))
    return os.pathsep.join([source, *(path for path in sys.path if "site-packages" in path)])
