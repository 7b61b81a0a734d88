"""Uploads every file of a folder by boto3: with_boto3.py put_object|upload_file ENDPOINT BUCKET
PREFIX FOLDER THREADS. Credentials come from the environment. It has only settings that cost
nothing."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config


def main() -> None:
    verb, endpoint, bucket, prefix, folder, threads = sys.argv[1:]
    config = Config(max_pool_connections=int(threads) + 2, s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)

    def put_object(name: str) -> None:
        with open(os.path.join(folder, name), "rb") as file:
            client.put_object(Bucket=bucket, Key=prefix + name, Body=file.read())

    def upload_file(name: str) -> None:
        client.upload_file(os.path.join(folder, name), bucket, prefix + name)

    with ThreadPoolExecutor(int(threads)) as pool:
        for _ in pool.map({"put_object": put_object, "upload_file": upload_file}[verb],
                          os.listdir(folder)):  # fmt: skip
            pass


if __name__ == "__main__":
    main()
