"""Everything of procfs that is not about a process, and the device nodes: can any be written or changed?"""

import json
import os

writable, changed = [], []


def files():
    for name in os.listdir("/proc"):
        path = "/proc/" + name
        if name.isdigit() or os.path.islink(path):
            continue
        yield path
        for folder, folders, names in os.walk(path):
            for each in folders + names:
                yield os.path.join(folder, each)


for path in files():
    if not os.path.isdir(path):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            writable.append(path)
        except OSError:
            pass
    try:
        os.chmod(path, os.stat(path).st_mode & 0o7777)  # no change, and yet only its owner may
        changed.append(path)
    except OSError:
        pass

for name in os.listdir("/dev"):
    path = "/dev/" + name
    if os.path.islink(path) or os.path.isdir(path):
        continue
    for attempt in (
        lambda p: os.chmod(p, os.stat(p).st_mode & 0o7777),
        lambda p: os.utime(p, (1, 1)),
        lambda p: os.chown(p, os.getuid(), os.getgid()),
        lambda p: os.setxattr(p, "user.attack", b"x"),
        os.unlink,
    ):
        try:
            attempt(path)
            changed.append(path)
        except OSError:
            pass

try:
    with open("/proc/sys/kernel/core_pattern") as file:
        pattern = file.read()
    with open("/proc/sys/kernel/core_pattern", "w") as file:
        file.write(pattern)
    writable.append("core_pattern, for real")
except OSError:
    pass

with open("/dev/zero", "rb") as zero, open("/dev/urandom", "rb") as urandom:
    working = zero.read(4) == bytes(4) and len(urandom.read(8)) == 8
with open("/dev/null", "w") as null:
    null.write("x")
secret = []
for name in ("kcore", "keys", "key-users", "kpagecount", "kpageflags", "kpagecgroup", "slabinfo", "timer_list",
             "sched_debug", "vmallocinfo"):  # fmt: skip
    try:
        with open("/proc/" + name, "rb") as file:
            if file.read(16):
                secret.append(name)
    except OSError:
        pass
with open("/proc/kallsyms") as file:  # the kernel shows addresses to the privileged only
    secret += [line for line in file if line.strip("0")[0] not in " "][:3]
print(json.dumps({"writable": writable, "changed": changed, "working": working, "secret": secret}))
