"""Books in a database."""

import sqlite3


def books(path):
    """Titles, in order."""
    with sqlite3.connect(path) as database:
        return [title for (title,) in database.execute("SELECT title FROM books ORDER BY title")]
