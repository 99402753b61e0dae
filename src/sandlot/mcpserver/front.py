"""The front of a server on stdio: answers from prepared bytes until somebody needs more.

Both eras of the protocol may be spoken on one pipe, told apart message by message: a request that carries a protocol
version in ``_meta`` is modern and stands for itself; anything else belongs to the handshake. Whatever is not known word
for word here (a call, a cursor, a mistake) is handed over, with all that follows, to the SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandlot.mcpserver.answers import Answers
from sandlot.mcpserver.jsonrpc import Lines, Malformed, parse, raw_error_line, result_line

__all__ = ["PROTOCOL_VERSION", "Front", "Handover", "is_modern"]

PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
_CLIENT = "io.modelcontextprotocol/clientInfo"
_RESERVED = "io.modelcontextprotocol/"
_KNOWN_META = frozenset({PROTOCOL_VERSION, _CAPABILITIES, _CLIENT})
_NOTHING = b""


@dataclass(frozen=True)
class Handover:
    """Where the front stopped."""

    message: dict[str, Any]
    """The message that needs the SDK."""
    initialize: dict[str, Any] | None
    """Parameters of the last handshake that was answered; the SDK has to be told."""
    initialized: bool
    """Whether the client has said that it is through with it."""


def is_modern(message: dict[str, Any]) -> bool:
    """Whether a request stands for itself. ``initialize`` never does, whatever it carries."""
    meta = (message.get("params") or {}).get("_meta")
    return message.get("method") != "initialize" and isinstance(meta, dict) and PROTOCOL_VERSION in meta


class Front:
    """Reads, answers, and stops at the first message that needs the SDK."""

    def __init__(self, answers: Answers, lines: Lines, write: Callable[[bytes], None]) -> None:
        self._answers = answers
        self._lines = lines
        self._write = write
        self._initialize: dict[str, Any] | None = None
        self._version = answers.latest
        self._initialized = False

    def run(self) -> Handover | None:
        """None: the client is gone."""
        while True:
            try:
                line = self._lines.next()
                if line is None:
                    return None
                if not line.strip():
                    continue
                message = parse(line)
            except Malformed as error:
                self._write(error.answer)
                continue
            answer = self._answer(message)
            if answer is None:
                return Handover(message, self._initialize, self._initialized)
            if answer:
                self._write(answer)

    def _answer(self, message: dict[str, Any]) -> bytes | None:
        """The line to send; empty: none is due; None: ask the SDK."""
        if "method" not in message:
            return _NOTHING  # a response, and nobody has asked
        method = message["method"]
        if "id" not in message:
            self._initialized |= method == "notifications/initialized" and self._initialize is not None
            return _NOTHING  # also: some clients cancel each request when it has been answered
        params = message.get("params") or {}
        if is_modern(message):
            return self._modern(message["id"], method, params)
        if method == "initialize":
            return self._handshake(message["id"], params)
        return self._legacy(message["id"], method, params)

    def _handshake(self, identity: object, params: dict[str, Any]) -> bytes | None:
        client = params.get("clientInfo")
        well_formed = (
            isinstance(params.get("protocolVersion"), str)
            and isinstance(params.get("capabilities"), dict)
            and isinstance(client, dict)
            and all(isinstance(client.get(key), str) for key in ("name", "version"))
        )
        if not well_formed:
            return None
        version = params["protocolVersion"]
        self._version = version if self._answers.knows(version) else self._answers.latest
        self._initialize, self._initialized = params, False
        result = self._answers.legacy(self._version, "initialize")
        return None if result is None else result_line(identity, result)

    def _legacy(self, identity: object, method: str, params: dict[str, Any]) -> bytes | None:
        if self._initialize is None and method != "ping":
            return None
        if method in self._answers.errors:
            return raw_error_line(identity, self._answers.errors[method])
        result = self._answers.legacy(self._version, method) if _asks_for_all(params) else None
        return None if result is None else result_line(identity, result)

    def _modern(self, identity: object, method: str, params: dict[str, Any]) -> bytes | None:
        meta = params["_meta"]
        if not isinstance(meta.get(_CAPABILITIES), dict) or not _names_client(meta.get(_CLIENT)):
            return None
        if method in self._answers.errors and self._answers.modern(meta[PROTOCOL_VERSION], "tools/list") is not None:
            return raw_error_line(identity, self._answers.errors[method])
        # Hosts add keys of their own to what they send; of the protocol's, we know what these three mean.
        plain = all(key in _KNOWN_META or not key.startswith(_RESERVED) for key in meta)
        result = self._answers.modern(meta[PROTOCOL_VERSION], method) if plain and _asks_for_all(params) else None
        return None if result is None else result_line(identity, result)


def _asks_for_all(params: dict[str, Any]) -> bool:
    """Whether a request for a list has no wishes; some clients send a cursor that is null."""
    return all(key == "_meta" or (key == "cursor" and value is None) for key, value in params.items())


def _names_client(client: object) -> bool:
    if client is None:
        return True
    return isinstance(client, dict) and all(isinstance(client.get(key), str) for key in ("name", "version"))
