"""Look for a token everywhere, and for places to write. Arguments: token, then paths of the host."""

import errno
import json
import os
import sys

token, paths = sys.argv[1].encode(), sys.argv[2:]
seen, written, doors = [], [], []


def read(path):
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 1 << 20)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


os.makedirs("/workspace/links", exist_ok=True)
for number, path in enumerate(paths):
    link = "/workspace/links/%d" % number
    os.symlink(path, link)
    os.symlink("%d" % number, link + "b")
    up = "../" * 40 + path.lstrip("/")
    ways = [
        path,
        link,
        link + "b",
        "/workspace/" + up,
        "/proc/self/root" + path,
        "/proc/1/root" + path,
        "/oldroot" + path,
    ]
    ways += ["/proc/self/cwd/" + up, "/proc/1/cwd" + path, "/newroot" + path, "/dev/fd/0/" + up]
    doors += ways
    for way in ways:
        if os.path.lexists(way) and not os.path.islink(way):
            seen.append(way)
        if token in read(way):
            seen.append(way)
for way in doors:
    try:
        os.close(os.open(way, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
        written.append(os.path.realpath(way))
    except OSError:
        pass

places = set()
for folder, folders, files in os.walk("/"):
    depth = folder.count("/")
    if folder == "/proc":
        folders[:] = [name for name in folders if not name.isdigit()]
    if folder.startswith(("/usr/", "/proc/")) and depth > 3:
        folders[:] = []
    for name in files:
        path = os.path.join(folder, name)
        if not folder.startswith(("/usr", "/proc", "/workspace/links")) and token in read(path):
            seen.append(path)
    try:
        probe = os.path.join(folder, "written-by-an-attack")
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        places.add(folder)
        os.unlink(probe)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT):
            seen.append("%s: %s" % (folder, error))

with open("/etc/passwd") as file:
    users = [line.split(":")[0] for line in file]
print(json.dumps({"seen": seen, "written": written, "places": sorted(places), "users": users,
                  "shadow": os.path.exists("/etc/shadow"), "top": sorted(os.listdir("/"))}))  # fmt: skip
