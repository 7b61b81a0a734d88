"""Makes a virtual environment smaller: that of `make test`, or that of the companion's image. Run
it by that environment's Python.

Nine tenths of botocore describe AWS services that the mirror does not talk to. This removes them.
"""

import shutil
import sys
from pathlib import Path

import botocore

KEEP = {"s3", "signin", "sso", "sso-oidc", "sts"}  # S3, and the services that give credentials


def main() -> int:
    if sys.prefix == sys.base_prefix:
        print(
            "This Python belongs to no virtual environment, so nothing is removed.", file=sys.stderr
        )
        return 1
    for service in (Path(botocore.__file__).parent / "data").iterdir():
        if service.is_dir() and service.name not in KEEP:
            shutil.rmtree(service)
    return 0


if __name__ == "__main__":
    sys.exit(main())
