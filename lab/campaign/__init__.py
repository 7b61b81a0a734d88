"""The fault campaign: the mirror under every fault that can be made here, against a real S3 server.

It imports nothing of the program. What the program did is seen from outside: in the bucket, in the
process list, in its log. See README.md beside this file.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STANDIN = ROOT / "tests" / "standin"

# tests/servers.py starts the real servers, here as in the tests.
if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))
