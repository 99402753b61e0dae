"""Process attributes that the standard library does not reach."""

import _ctypes

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36


_address = 0


def find() -> None:
    """Look prctl(2) up, once, for this process and those that it forks."""
    global _address
    # ctypes costs 4 ms to import; the C module below it costs less than one.
    library = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None is the program itself
    _address = _ctypes.dlsym(library, "prctl")


def _prctl(option: int, value: int) -> None:
    if not _address:
        find()
    if _ctypes.call_function(_address, (option, value, 0, 0, 0)) != 0:  # it takes its arguments as longs
        raise OSError("prctl(%d, %d) failed" % (option, value))


def forbid_inspection() -> None:
    """Make this process undumpable: code inside has our uid and could otherwise read /proc/1/mem and /proc/1/fd."""
    _prctl(PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the reaper of all our descendants, so that a double fork cannot leave a command's tree."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(number: int) -> None:
    """Be sent this signal when our parent dies; whoever calls this looks afterwards whether it is dead already."""
    _prctl(PR_SET_PDEATHSIG, number)
