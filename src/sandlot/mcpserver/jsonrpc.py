"""JSON-RPC messages on lines: reading them from a descriptor, telling what they are, refusing what they are not.

Loaded before the first answer, so standard library only.
"""

from __future__ import annotations

import json
import os
from typing import Any

__all__ = ["INVALID_REQUEST", "LONGEST_MESSAGE", "Lines", "Malformed", "error_line", "parse", "result_line"]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602

LONGEST_MESSAGE = 32 << 20
"""Bytes of one line; a longer one is thrown away as it comes, so that nobody can fill our memory."""
LONGEST_ID = 1024
"""Characters of a request's id as JSON: it is repeated in every answer."""
_PIECE = 1 << 16

JsonObject = dict[str, Any]


class Malformed(Exception):
    """A line that is no message; ``answer`` is the line to send back."""

    def __init__(self, code: int, message: str, identity: object = None) -> None:
        super().__init__(message)
        self.answer = error_line(identity, code, message)


class Lines:
    """Lines of a descriptor, however they arrive."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept = bytearray()
        self._searched = 0

    def next(self) -> bytes | None:
        """The next line without its end; None: there are no more. Raises Malformed for one that is too long."""
        too_long = False
        while (end := self._kept.find(b"\n", self._searched)) < 0:
            self._searched = len(self._kept)
            if len(self._kept) > LONGEST_MESSAGE:
                too_long = True
                self._drop(len(self._kept))
            data = os.read(self._descriptor, _PIECE)
            if not data:
                line = bytes(self._kept)  # a last line needs no newline
                self._drop(len(self._kept))
                return line or None
            self._kept += data
        line = bytes(memoryview(self._kept)[:end])
        self._drop(end + 1)
        if too_long or len(line) > LONGEST_MESSAGE:
            raise Malformed(INVALID_REQUEST, f"a message is longer than {LONGEST_MESSAGE >> 20} MiB")
        return line

    def _drop(self, count: int) -> None:
        del self._kept[:count]
        self._searched = 0


def parse(line: bytes) -> JsonObject:
    """The message on a line: a request, a notification or a response. Raises Malformed."""
    try:
        message = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Malformed(PARSE_ERROR, "a message is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Malformed(PARSE_ERROR, f"a message is not JSON: {error.msg} at byte {error.pos}") from None
    except RecursionError:
        raise Malformed(PARSE_ERROR, "a message is nested too deeply") from None
    except ValueError as error:  # NaN and the like, or more digits than Python converts
        reason = str(error) if "JSON number" in str(error) else "a number has too many digits"
        raise Malformed(PARSE_ERROR, f"a message is not JSON: {reason}") from None
    if isinstance(message, list):
        raise Malformed(INVALID_REQUEST, "batches are not taken: send each message on a line of its own")
    if not isinstance(message, dict):
        raise Malformed(INVALID_REQUEST, "a message is not a JSON object")
    identity = message.get("id")
    if "id" in message and not valid_id(identity):
        raise Malformed(INVALID_REQUEST, f"an id is a whole number or a string of at most {LONGEST_ID} characters")
    if message.get("jsonrpc") != "2.0":
        raise Malformed(INVALID_REQUEST, 'a message does not say "jsonrpc": "2.0"', identity)
    if "method" not in message:
        if identity is not None and ("result" in message or "error" in message):
            return message
        raise Malformed(INVALID_REQUEST, "a message has no method", identity)
    if not isinstance(message["method"], str):
        raise Malformed(INVALID_REQUEST, "a method is not a string", identity)
    if not isinstance(message.get("params", {}), dict):
        raise Malformed(INVALID_PARAMS, "params is not an object", identity)
    return message


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def valid_id(identity: object) -> bool:
    """Whether this may be the id of a request (MCP: a string or a whole number, never null)."""
    if isinstance(identity, bool) or not isinstance(identity, (str, int)):
        return False
    if isinstance(identity, int):
        return identity.bit_length() < LONGEST_ID
    if len(identity) > LONGEST_ID:
        return False
    try:
        identity.encode()
    except UnicodeEncodeError:  # half a surrogate pair cannot be sent back
        return False
    return True


def result_line(identity: object, result: str) -> bytes:
    """The line of an answer; ``result`` is JSON already."""
    return f'{{"jsonrpc":"2.0","id":{json.dumps(identity)},"result":{result}}}\n'.encode()


def error_line(identity: object, code: int, message: str) -> bytes:
    """The line of an error that has no data."""
    return raw_error_line(identity, json.dumps({"code": code, "message": message}))


def raw_error_line(identity: object, error: str) -> bytes:
    """The line of an error; ``error`` is JSON already."""
    return f'{{"jsonrpc":"2.0","id":{json.dumps(identity)},"error":{error}}}\n'.encode()
