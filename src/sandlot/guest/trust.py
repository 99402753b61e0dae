"""The job ``trust``: the host's certificates for a workspace become files in /etc/sandlot.

A request is one frame: name, content, name, content, ... It is answered by one that has the same type and no fields.
"""

import _socket
import os

from sandlot.wire import frames

FOLDER = "/etc/sandlot"
KIND = 1


def serve(connection: "_socket.socket", _words: "list[bytes]") -> None:
    """Answer one request. It runs as root, and what it writes nobody else can change."""
    decoder = frames.Decoder()
    while True:
        data = connection.recv(65536)
        if not data:
            return
        for kind, _, fields in decoder.feed(data):
            if kind == KIND:
                put(fields)
                connection.sendall(frames.encode(KIND, 0, []))
            return


def put(fields: "list[bytes]", folder: str = FOLDER) -> None:
    """Write the files; one that is replaced is never half there. Raises OSError, ValueError."""
    os.umask(0o022)
    os.makedirs(folder, exist_ok=True)
    for name, content in zip(fields[::2], fields[1::2]):  # noqa: B905  Python 3.9
        if b"/" in name or name in (b"", b".", b".."):
            raise ValueError("a certificate's name is no file name")
        target = os.path.join(os.fsencode(folder), name)
        draft = target + b".new"
        with open(draft, "wb") as file:
            file.write(content)
        os.chmod(draft, 0o444)
        os.rename(draft, target)
