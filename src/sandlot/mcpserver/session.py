"""A session on stdio once the front has handed it over: both eras of the protocol, each served by the SDK.

The SDK serves one era on one pair of streams. A pipe may carry both, so each message goes to the loop of its era, and
what both send goes out on the one pipe. A handshake that the front has answered is repeated to the SDK, whose answer to
that is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import threading
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from sandlot.mcpserver.front import Handover, is_modern
from sandlot.mcpserver.jsonrpc import INVALID_REQUEST, Lines, Malformed, error_line, parse
from sandlot.mcpserver.output import Output
from sandlot.mcpserver.server import SandlotServer

__all__ = ["LAST_RESORT_S", "end_soon", "serve"]

GRACE_S = 0.5
"""How long calls may go on when the client has closed the pipe."""
LAST_RESORT_S = 0.9
"""After that the process ends, whatever still runs in it: hosts wait for about a second, then kill."""
_IDLE_LOOK_S = 0.02

Message = dict[str, Any]
Incoming = MemoryObjectSendStream[SessionMessage | Exception]


def end_soon() -> None:
    """From now on the process has LAST_RESORT_S left."""
    timer = threading.Timer(LAST_RESORT_S, os._exit, (0,))
    timer.daemon = True
    timer.start()


def serve(server: SandlotServer, lines: Lines, output: Output, handover: Handover) -> None:
    """Serve until the client is gone, or a signal comes."""
    with contextlib.suppress(asyncio.CancelledError):  # a signal
        asyncio.run(_Session(server, output, handover).run(lines))


class _Session:
    def __init__(self, server: SandlotServer, output: Output, handover: Handover) -> None:
        self._server = server
        self._output = output
        self._handover = handover
        self._replay = f"replay-{secrets.token_hex(8)}"
        self._eras: dict[str, Incoming] = {}
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(64)

    async def run(self, lines: Lines) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end, loop)
        threading.Thread(target=self._read, args=(lines, loop), daemon=True, name="sandlot-stdin").start()
        async with self._server.lifespan(self._server) as state, anyio.create_task_group() as group:
            await self._take(self._handover.message, group, state)
            while (message := await self._messages.get()) is not None:
                await self._take(message, group, state)
            with anyio.move_on_after(GRACE_S):
                while self._server.busy:
                    await asyncio.sleep(_IDLE_LOOK_S)
            for era in self._eras.values():
                await era.aclose()  # the SDK cancels what is on its way

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        """A signal: like the end of the pipe, but nothing is waited for."""
        end_soon()
        for task in asyncio.all_tasks(loop):
            task.cancel()

    def _read(self, lines: Lines, loop: asyncio.AbstractEventLoop) -> None:
        """The thread that reads; the queue's bound keeps a fast client from filling our memory."""
        while True:
            message: Message | None = None
            try:
                line = lines.next()
                if line is not None and not line.strip():
                    continue
                message = None if line is None else parse(line)
            except Malformed as error:
                self._output.write(error.answer)
                continue
            except OSError:
                pass
            if message is None:
                end_soon()
            asyncio.run_coroutine_threadsafe(self._messages.put(message), loop).result()
            if message is None:
                return

    async def _take(self, message: Message, group: anyio.abc.TaskGroup, state: None) -> None:
        """Pass a message to the era it belongs to."""
        try:
            typed = SessionMessage(types.jsonrpc_message_adapter.validate_python(message, by_name=False))
        except ValidationError:
            self._output.write(error_line(message.get("id"), INVALID_REQUEST, "not a message of the protocol"))
            return
        if "method" in message and "id" in message:
            era = "modern" if is_modern(message) else "legacy"
            if era not in self._eras:
                await self._begin(era, group, state)
            await self._eras[era].send(typed)
        elif message.get("method") == "notifications/cancelled":
            for stream in self._eras.values():  # whoever has the request ends it
                await stream.send(typed)
        elif "legacy" in self._eras:
            await self._eras["legacy"].send(typed)

    async def _begin(self, era: str, group: anyio.abc.TaskGroup, state: None) -> None:
        to_sdk, from_us = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_us, from_sdk = anyio.create_memory_object_stream[SessionMessage](0)
        self._eras[era] = to_sdk
        group.start_soon(self._pass_on, from_sdk)

        async def loop() -> None:
            await serve_dual_era_loop(
                self._server,
                from_us,
                to_us,
                lifespan_state=state,
                init_options=self._server.create_initialization_options(),
            )

        group.start_soon(loop)
        if era == "legacy" and self._handover.initialize is not None:
            await self._repeat_handshake(to_sdk)

    async def _repeat_handshake(self, to_sdk: Incoming) -> None:
        request = types.JSONRPCRequest(
            jsonrpc="2.0", id=self._replay, method="initialize", params=self._handover.initialize
        )
        await to_sdk.send(SessionMessage(request))
        if self._handover.initialized:
            notification = types.JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized")
            await to_sdk.send(SessionMessage(notification))

    async def _pass_on(self, from_sdk: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write what the SDK sends."""
        async with from_sdk:
            async for each in from_sdk:
                message = each.message
                if getattr(message, "id", None) == self._replay:
                    continue
                await anyio.to_thread.run_sync(self._output.write, _line(message), abandon_on_cancel=True)


def _line(message: types.JSONRPCMessage) -> bytes:
    found = message.model_dump(by_alias=True, mode="json", exclude_unset=True)
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"
