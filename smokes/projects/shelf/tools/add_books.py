"""Add more books: add_books.py BOOKS.csv SHELF.db"""

import csv
import sqlite3
import sys

source, target = sys.argv[1:]
with open(source, newline="") as lines, sqlite3.connect(target) as database:
    for row in csv.DictReader(lines):
        database.execute("INSERT INTO books VALUES (?, ?)", (row["title"], row["author"]))
