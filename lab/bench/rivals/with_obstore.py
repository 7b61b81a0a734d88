"""Uploads every file of a folder by obstore, which is Rust: with_obstore.py ENDPOINT BUCKET
PREFIX FOLDER THREADS. Credentials come from the environment.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import S3Store


def main() -> None:
    endpoint, bucket, prefix, folder, threads = sys.argv[1:]
    store = S3Store(
        bucket, endpoint=endpoint, region="us-east-1", client_options={"allow_http": True}
    )

    def put(name: str) -> None:
        path = Path(folder, name)
        if path.stat().st_size > 16_000_000:
            obstore.put(store, prefix + name, path)  # in parts, at once
        else:
            obstore.put(store, prefix + name, path.read_bytes(), use_multipart=False)

    with ThreadPoolExecutor(int(threads)) as pool:
        for _ in pool.map(put, os.listdir(folder)):
            pass


if __name__ == "__main__":
    main()
