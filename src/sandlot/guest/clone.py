"""What a clone must not share with its template: the time, the state of the random pool, its name."""

import fcntl
import os
import struct
import time
from _socket import sethostname

from sandlot.wire import bridge as wire

_RNDADDENTROPY = 0x40085203  # random(4)
_RNDRESEEDCRNG = 0x5207
_HOSTS = "127.0.0.1 localhost %s\n::1 localhost\n"


def freshen(values: "dict[bytes, bytes]") -> None:
    """Do what CONFIGURE says. Raises OSError: a clone that has another's random numbers must not go on."""
    if wire.TIME in values:
        time.clock_settime_ns(time.CLOCK_REALTIME, int(values[wire.TIME]))
    if wire.SEED in values:
        seed = values[wire.SEED]
        pool = os.open("/dev/urandom", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(pool, _RNDADDENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
            fcntl.ioctl(pool, _RNDRESEEDCRNG)
        finally:
            os.close(pool)
    if wire.HOSTNAME in values:
        name = values[wire.HOSTNAME].decode("ascii")
        sethostname(name)
        try:
            # Not open(): what it brings along takes an emulated guest longer than all the rest.
            hosts = os.open("/etc/hosts", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        except OSError:
            return  # the environment's own, read-only; it knows localhost
        try:
            os.write(hosts, (_HOSTS % name).encode("ascii"))
        finally:
            os.close(hosts)
