"""The least work that a mirror of this kind must do: least.py DATABASE FOLDER HOST:PORT. A line of
stdin is an event's id, its picture and a URL that was signed beforehand.

For each event it reads the row over an open connection, holds the picture by a link, notes the
event in a journal (SQLite, as durable as the mirror's), computes the digest, and sends one PUT over
an open connection. It has no settings, threads, retries or metadata and handles no fault.
"""

import hashlib
import http.client
import os
import sqlite3
import sys


def main() -> None:
    database, folder, host = sys.argv[1:]
    os.nice(10)
    events = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    journal = sqlite3.connect(f"{folder}/journal.db", isolation_level=None)
    journal.execute("PRAGMA journal_mode = WAL")
    journal.execute("PRAGMA synchronous = NORMAL")
    journal.execute("CREATE TABLE queue (id TEXT PRIMARY KEY, picture, digest) WITHOUT ROWID")
    bucket = http.client.HTTPConnection(host)
    while line := sys.stdin.buffer.readline().decode():
        event, picture, url = line.split()
        events.execute("SELECT * FROM event WHERE id = ?", [event]).fetchall()
        os.link(picture, f"{folder}/{event}")
        journal.execute("INSERT INTO queue VALUES (?, ?, NULL)", [event, picture])
        with open(f"{folder}/{event}", "rb", buffering=0) as file:
            body = file.read()
        digest = hashlib.sha256(body).hexdigest()
        bucket.request("PUT", url, body)
        answer = bucket.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"{url}: {answer.status}")
        journal.execute("UPDATE queue SET digest = ? WHERE id = ?", [digest, event])
        os.unlink(f"{folder}/{event}")


if __name__ == "__main__":
    main()
