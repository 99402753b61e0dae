"""Make a new database from a list of books: make_db.py BOOKS.csv SHELF.db"""

import csv
import os
import sqlite3
import sys

source, target = sys.argv[1:]
if os.path.exists(target):
    os.unlink(target)
with open(source, newline="") as lines, sqlite3.connect(target) as database:
    database.execute("CREATE TABLE books (title TEXT, author TEXT)")
    rows = [(row["title"], row["author"]) for row in csv.DictReader(lines)]
    database.executemany("INSERT INTO books VALUES (?, ?)", rows)
print(f"{target}: {len(rows)} books")
