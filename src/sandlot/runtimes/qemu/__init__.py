"""The runtime named ``qemu``: a workspace in a virtual machine, cloned from a template instead of booted."""
