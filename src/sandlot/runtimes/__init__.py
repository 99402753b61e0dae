"""What isolates a running workspace. ``base`` is the contract, ``conformance`` the suite every runtime must pass."""
