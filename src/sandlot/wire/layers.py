"""How a layer (a tree in overlayfs's sense) travels between the host and a guest: as a stream of entries.

A stream is a walk: an entry names something in the folder we are in by a single component, a FOLDER goes into it, UP
leaves it again. So there are no paths, and nothing a stream says can lead out of the folder it is written into. All
integers are big endian::

    MAGIC
    HEAD  kind, flags, mode, length of the name, mtime in ns, number
    name
    what the kind and the flags add

============  ==================================================================================================
FOLDER        goes into it; flags: OPAQUE (hides what lower layers have there), ATTRIBUTES
UP            leaves the folder; no name. The root's own UP comes right before END
FILE          attributes if flagged, then its content; flags: SHARED (more names follow; the n-th such file has
              number n, from 0), ATTRIBUTES
AGAIN         one more name of the SHARED file ``number``
SYMLINK       ``number`` bytes of target
FIFO
WHITEOUT      what lower layers have there is gone
SKIPPED       something that does not travel (a socket or device)
BROKEN        no name; ``number`` bytes say why the rest cannot come
END           no name; without it the stream was cut short
============  ==================================================================================================

The root comes as a FOLDER without a name. Attributes are (VALUE: length of the name, length of the value; name; value)
and end with a VALUE of zeros. Content is pieces: a PIECE (number of bytes, with HOLE set for a hole), and those bytes
unless it is a hole; an empty piece ends it. So a file may grow or shrink while it is sent.
"""

import struct

MAGIC = b"sandlot-layer-1\n"
HEAD = struct.Struct(">BBHHqQ")
PIECE = struct.Struct(">Q")
VALUE = struct.Struct(">HI")
HOLE = 1 << 63

FOLDER, UP, FILE, AGAIN, SYMLINK, FIFO, WHITEOUT, SKIPPED, BROKEN, END = range(1, 11)

OPAQUE = 1
SHARED = 1
ATTRIBUTES = 2

MAX_NAME = 255
MAX_TEXT = 4095
"""Of a symlink's target, and of the reason of BROKEN, in bytes."""
MAX_VALUE = 65536
"""Of an extended attribute, in bytes (xattr(7))."""
MAX_DEPTH = 65536
"""Folders in folders."""

# Requests to what serves the storage inside (guest/storage.py), as frames over a connection of their own.
LAYERS = 1  #    -; opens the data disk                        -> DONE names of the layers that are complete there
PUT = 2  #       name, place (WARM or COLD); a layer stream follows -> DONE entries, bytes of content
ASSEMBLE = 3  #  (target, count, names of lowers, lowest first)... -> DONE
TAKE = 4  #      target                                        -> a layer stream of its private changes
SYNC = 5  #      -; everything is on the disk afterwards       -> DONE
DONE = 6
FAILED = 7  #    errno, message
OPEN_OWN = 8  #  -; mounts the workspace's own disk, in the place of the template's -> DONE

WARM = b"warm"
"""In memory: what a template keeps for its clones."""
COLD = b"cold"
"""On the data disk: what stays with one workspace, also when it is stopped."""
