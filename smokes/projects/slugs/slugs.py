"""The part of a web address that a title becomes."""

import unicodedata


def slug(title):
    """Lower case, words with hyphens between them, accents gone; links to old articles depend on it."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    words = "".join(char if char.isalnum() else " " for char in plain.lower()).split()
    return "-".join(words)
