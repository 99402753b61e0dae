"""The host's end of a guest's storage: layers go in, areas are put together, changes come out.

A runtime of storage GUEST opens a connection to what serves ``sandlot.guest.storage`` inside and uses it here::

    template:  GuestStorage(connection).warm(request.warm), then save it; its key has ``warm_key(request.warm)`` in it
    launch:    unless ``is_standing``: GuestStorage(connection).install(request, own), before the agent starts
    fetch:     GuestStorage(connection).take(target, folder, bounds)

What comes over the connection may come from a hostile guest: it is bounded and checked.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandlot import errors
from sandlot.bases.shipping import Received, receive, send
from sandlot.guest.unpacking import LayerError, Reader
from sandlot.runtimes.base import AREA_TARGETS, AreaMount, Bounds, LaunchRequest
from sandlot.wire import frames
from sandlot.wire import layers as wire

__all__ = ["GuestStorage", "is_standing", "layer_name", "standing", "warm_key"]

SILENCE_S = 120.0
"""The longest a guest may say nothing, or take nothing, while it works: software emulation on a loaded machine."""


def layer_name(lower: Path) -> bytes:
    """What a lower folder is called inside: the same for the same folder of the store, whose content never changes."""
    return hashlib.sha256(os.fsencode(lower)).hexdigest()[:24].encode()


def warm_key(warm: Sequence[Path]) -> str:
    """What tells templates with different warm layers apart."""
    return hashlib.sha256(b"\0".join(layer_name(lower) for lower in warm)).hexdigest()[:24]


def standing(warm: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """target -> lowers, lowest first: the areas that a template has mounted which holds these layers."""
    return {target: tuple(each for each in warm if each.name == area) for area, target in AREA_TARGETS.items()}


def is_standing(request: LaunchRequest) -> bool:
    """Whether a clone of the request's template has all its areas, if it begins with a new disk."""
    return request.building is None and not _missing(request)


def _missing(request: LaunchRequest) -> list[AreaMount]:
    there = standing(request.warm)
    return [area for area in request.areas if there.get(area.target) != area.lowers]


class GuestStorage:
    """One connection. Use as a context manager, which closes it."""

    def __init__(self, connection: socket.socket, *, within_s: float = math.inf) -> None:
        """``within_s``: no answer is waited for after so many seconds, however a guest spins them out."""
        self._socket = connection
        self._socket.settimeout(SILENCE_S)
        self._reader = Reader(self._receive)
        self._end = time.monotonic() + within_s

    def __enter__(self) -> GuestStorage:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _receive(self, size: int) -> bytes:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(SILENCE_S, left))
        return self._socket.recv(size)

    def install(self, request: LaunchRequest, *, own: bool = False) -> None:
        """Send what the guest does not have of the areas' layers, and put those together that it does not have.

        ``own``: it has a disk of its own, so it has none.
        Raises StartFailed when the guest cannot, AgentUnresponsive, FileRefused for a layer that cannot be read.
        """
        if own:
            self._call(wire.OPEN_OWN, [])
        areas = list(request.areas) if own else _missing(request)
        wanted = dict.fromkeys(lower for area in areas for lower in area.lowers)
        if not wanted.keys() <= set(request.warm):
            present = set(self.layers())
            for lower in wanted:
                if layer_name(lower) not in present:
                    self.put(lower, warm=False)
        stacks = {area.target: area.lowers for area in areas}
        if request.building is not None:
            stacks[request.building.target] = ()
        self._assemble(stacks)

    def warm(self, layers: Sequence[Path]) -> None:
        """Send layers that a template is to hold, and put the areas together that its clones are to have.

        Afterwards nothing of this connection is under way any more.
        """
        for lower in layers:
            self.put(lower, warm=True)
        self._assemble(standing(layers))
        self.sync()
        self._finish()

    def _assemble(self, stacks: Mapping[str, Sequence[Path]]) -> None:
        fields: list[bytes] = []
        for target, lowers in stacks.items():
            fields += [os.fsencode(target), b"%d" % len(lowers), *map(layer_name, lowers)]
        self._call(wire.ASSEMBLE, fields)

    def layers(self) -> list[bytes]:
        """Names of the layers that the guest has."""
        return self._call(wire.LAYERS, [])

    def put(self, layer: Path, *, warm: bool) -> None:
        """Send one layer folder."""
        self._send(frames.encode(wire.PUT, 0, [layer_name(layer), wire.WARM if warm else wire.COLD]))
        try:
            send(layer, self._send)
        except errors.CommandInterrupted:
            pass  # it has given up; its answer says why
        self._answer()

    def take(self, target: str, folder: Path, bounds: Bounds) -> Received:
        """Fetch the private changes of an area into the new folder ``folder``. See Runtime.fetch."""
        self._send(frames.encode(wire.TAKE, 0, [os.fsencode(target)]))
        try:
            return receive(self._reader, folder, most_bytes=bounds.bytes, most_entries=bounds.entries)
        except TimeoutError as error:
            raise errors.AgentUnresponsive("the workspace stopped sending its files") from error
        except ConnectionError as error:
            raise errors.CommandInterrupted("the workspace ended while its files were fetched") from error

    def sync(self) -> None:
        """Everything written so far is on the data disk afterwards."""
        self._call(wire.SYNC, [])

    def _finish(self) -> None:
        """Hang up and wait until the guest has, too: a template must not be saved with half of a conversation."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(4096):
                pass
        except OSError as error:
            raise errors.CommandInterrupted("the guest ended while it was given its files") from error

    def _send(self, data: bytes | bytearray) -> None:
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise errors.AgentUnresponsive("the guest does not take its files") from error
        except OSError as error:
            raise errors.CommandInterrupted("the guest ended while it was given its files") from error

    def _call(self, kind: int, fields: Sequence[bytes]) -> list[bytes]:
        self._send(frames.encode(kind, 0, tuple(fields)))
        return self._answer()

    def _answer(self) -> list[bytes]:
        try:
            kind, _, length = frames.decode_header(self._reader.exactly(frames.HEADER.size))
            fields = frames.decode_fields(self._reader.exactly(length))
        except TimeoutError as error:
            raise errors.AgentUnresponsive("the guest does not answer about its storage") from error
        except (LayerError, ConnectionError) as error:
            raise errors.CommandInterrupted("the guest ended while its storage was prepared") from error
        except frames.FrameError as error:
            raise errors.ProtocolError(f"the guest sent something that is not our protocol: {error}") from error
        if kind == wire.DONE:
            return fields
        text = fields[1][:2000].decode("utf-8", "replace") if kind == wire.FAILED and len(fields) > 1 else "no reason"
        raise errors.StartFailed(f"the guest cannot prepare its storage: {text}")
