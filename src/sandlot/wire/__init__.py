"""The protocol between host and agent: frames, flat fields, message types. Stdlib only, imports nothing of ours."""
