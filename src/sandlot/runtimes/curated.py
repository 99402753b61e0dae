"""What a workspace sees of the host's userland: chosen names, never whole folders that may hold something private."""

from __future__ import annotations

from sandlot.runtimes.base import HOME

__all__ = ["ETC_FILES", "ETC_SHOWN", "USER_ID", "USR_LINKS"]

USER_ID = 1000

USR_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
ETC_SHOWN = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "fonts",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "magic.mime", "mime.types", "os-release",
    "perl", "pki/ca-trust", "pki/tls/certs", "protocols", "python3", "services", "ssl/certs", "ssl/openssl.cnf",
    "timezone",
)  # fmt: skip
"""What toolchains need of /etc and what holds no secret. Never whole folders such as ssl or pki: they hold keys."""

ETC_FILES = {
    "passwd": f"root:x:0:0:root:/root:/bin/sh\nagent:x:{USER_ID}:{USER_ID}:agent:{HOME}:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "group": f"root:x:0:\nagent:x:{USER_ID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandlot\n::1 localhost\n",
    "resolv.conf": "nameserver 10.0.2.3\noptions timeout:2 attempts:2\n",  # answers when the network is open only
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
