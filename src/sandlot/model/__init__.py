"""The nouns, as frozen dataclasses without I/O."""
