"""The rivals. Each is a command that uploads every file of a folder, with its best settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lab.bench import RIVALS

HERE = Path(__file__).resolve().parent
THREADS = "8"
# With these rclone asks no questions and checks nothing twice, so a file costs it one request.
RCLONE = ["--config", "/dev/null", "--s3-provider", "Other", "--s3-env-auth",
          "--s3-no-check-bucket", "--s3-no-head", "--no-traverse", "--ignore-times",
          "--ignore-checksum"]  # fmt: skip


def s5cmd(endpoint: str, bucket: str, folder: Path) -> list[str]:
    return [str(RIVALS / "s5cmd"), "--log", "error", "--endpoint-url", endpoint, "--numworkers",
            THREADS, "cp", f"{folder}/*", f"s3://{bucket}/"]  # fmt: skip


def rclone(endpoint: str, bucket: str, folder: Path) -> list[str]:
    return [str(RIVALS / "rclone"), "copy", *RCLONE, "--s3-endpoint", endpoint, "--transfers",
            THREADS, "--checkers", THREADS, str(folder), f":s3:{bucket}"]  # fmt: skip


def aws(endpoint: str, bucket: str, folder: Path) -> list[str]:
    return [str(RIVALS / "aws"), "--endpoint-url", endpoint, "s3", "cp", "--recursive",
            "--only-show-errors", str(folder), f"s3://{bucket}/"]  # fmt: skip


def boto3_put_object(endpoint: str, bucket: str, folder: Path) -> list[str]:
    return [sys.executable, str(HERE / "with_boto3.py"), "put_object", endpoint, bucket, "",
            str(folder), THREADS]  # fmt: skip


def boto3_upload_file(endpoint: str, bucket: str, folder: Path) -> list[str]:
    return [sys.executable, str(HERE / "with_boto3.py"), "upload_file", endpoint, bucket, "",
            str(folder), THREADS]  # fmt: skip


def obstore(endpoint: str, bucket: str, folder: Path) -> list[str]:
    return [str(RIVALS / "python"), str(HERE / "with_obstore.py"), endpoint, bucket, "",
            str(folder), THREADS]  # fmt: skip


ALL = (s5cmd, rclone, aws, boto3_put_object, boto3_upload_file, obstore)


def missing() -> list[str]:
    return [name for name in ("s5cmd", "rclone", "aws") if not os.access(RIVALS / name, os.X_OK)]
