"""The demo's own view of the bucket. It uses boto3 and none of the mirror's code, so it shows what
anybody would see there.

    make            wait for the server, make the bucket and try it
    show EVENTS     compare the bucket with what the stand-in wrote; exit 1 if they differ
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

WITHIN = 30  # seconds until the server must answer


def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=os.environ["DEMO_ENDPOINT"],
        aws_access_key_id=os.environ["DEMO_OWNER_KEY"],
        aws_secret_access_key=os.environ["DEMO_OWNER_SECRET"],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def make() -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    client, deadline = _client(), time.monotonic() + WITHIN
    bucket = os.environ["DEMO_BUCKET"]
    while True:
        try:
            client.create_bucket(Bucket=bucket)
            break
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                print(f"the S3 server did not come up: {error}", file=sys.stderr)
                return 1
            time.sleep(0.1)
    # The first object in a new bucket takes this server seconds. They are no part of the demo.
    client.put_object(Bucket=bucket, Key="first", Body=b"x")
    client.delete_object(Bucket=bucket, Key="first")
    return 0


def show(events: Path) -> int:
    """Prints two lines for each object, then a line for each snapshot that is not in the bucket.

    A size is in thousands of bytes and rounded up, as in the log of the mirror."""
    client, bucket, status = _client(), os.environ["DEMO_BUCKET"], 0
    wanted = {event["sha256"]: event for event in _with_pictures(events)}
    for entry in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        answer = client.get_object(Bucket=bucket, Key=entry["Key"])
        event = wanted.pop(hashlib.sha256(answer["Body"].read()).hexdigest(), None)
        verdict = "same bytes as on disk" if event else "NO SUCH SNAPSHOT ON DISK"
        size = -(-entry["Size"] // 1000)
        print(entry["Key"])
        print(f"    {size} KB, {answer['ContentType']}, {verdict}")
        if event is None:
            status = 1
    for event in wanted.values():
        print(f"NOT IN THE BUCKET: {event['file']}")
        status = 1
    return status


def _with_pictures(events: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    return [line for line in lines if line.get("sha256")]


def main(arguments: list[str]) -> int:
    match arguments:
        case ["make"]:
            return make()
        case ["show", events]:
            return show(Path(events))
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
