"""Namespaces, overlay, seccomp: a kernel-isolated workspace without root, KVM or a daemon."""
