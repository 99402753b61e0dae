"""The job ``network``: an open network's device inside, whose frames the host carries.

Words: mtu, address, gateway, the reachable address, then the closed networks (interface.py). The answer is one line,
``0`` or the number of an error; from then on both sides send frames, each after its length in four bytes. The device is
there as long as the connection. What may leave it the host decides, for a guest is not believed.
"""

import errno
import fcntl
import os
import select
import stat
import struct
import time

from sandlot.guest import interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

DEVICE = "tap0"
FRAME = 65536
"""Longest frame: an MTU of slirp4netns's largest, and the header before it."""
_TUN = os.makedev(10, 200)
_TUNSETIFF, _TAP, _NO_PI = 0x400454CA, 2, 0x1000
FREE_S = 5.0
"""How long the device of a predecessor, whose connection has ended, may be there."""
_WAIT_S = 0.02
_LENGTH = struct.Struct(">I")


def serve(connection: "_socket.socket", words: "list[bytes]") -> None:
    """Carry frames until the host hangs up. It runs as root, where the device is for the agent's processes."""
    try:
        tap = _device()
        mtu, address, gateway, reachable, *closed = [word.decode() for word in words]
        interface.configure(DEVICE, int(mtu), address, gateway, reachable, closed)
    except OSError as error:
        connection.sendall(b"%d\n" % (error.errno or errno.EIO))
        return
    connection.sendall(b"0\n")
    connection.setblocking(False)
    carry(tap, connection)


def _device() -> int:
    """A new device of ours. Its node is nowhere that anybody else could open. Raises OSError."""
    node = "/dev/way-out"
    os.mknod(node, stat.S_IFCHR | 0o600, _TUN)
    try:
        tap = os.open(node, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.unlink(node)
    end = time.monotonic() + FREE_S
    while True:
        try:
            fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _TAP | _NO_PI))
            return tap
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise
            time.sleep(_WAIT_S)


def carry(tap: int, connection: "_socket.socket") -> None:
    """Frames of the device to the host and back. What comes from the host is always taken, so no side waits for the
    other; what the host does not take in time stays in the device's queue, and is dropped where that is full."""
    coming, going = bytearray(), bytearray()
    poller = select.poll()
    while True:
        poller.register(connection.fileno(), select.POLLIN | (select.POLLOUT if going else 0))
        poller.register(tap, 0 if going else select.POLLIN)
        events = dict(poller.poll())
        if events.get(tap, 0) & select.POLLIN:
            _take(tap, going)
        if going:
            try:
                del going[: connection.send(going)]
            except BlockingIOError:
                pass
        if events.get(connection.fileno(), 0) & ~select.POLLOUT:
            data = connection.recv(FRAME)
            if not data:
                return
            coming += data
            _give(tap, coming)


def _take(tap: int, going: bytearray) -> None:
    try:
        frame = os.read(tap, FRAME)
    except BlockingIOError:
        return
    going += _LENGTH.pack(len(frame))
    going += frame


def _give(tap: int, coming: bytearray) -> None:
    """Write the frames that are complete."""
    at = 0
    while len(coming) - at >= _LENGTH.size:
        end = at + _LENGTH.size + _LENGTH.unpack_from(coming, at)[0]
        if len(coming) < end:
            break
        try:
            os.write(tap, coming[at + _LENGTH.size : end])
        except OSError:
            pass  # no frame, or no room for one: it is lost, as on any wire
        at = end
    del coming[:at]
