"""The benchmark: each figure beside a rival or a limit that was measured in the same run.

`make bench`, or `python -m bench --only ROW`. It sees the program from outside, as Frigate does: a
folder of Frigate's shape, the child process, its pipe, its state files. So it goes on holding when
the inside changes. A row of the table is a module of `bench.rows`.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RIVALS = ROOT / ".venv-bench" / "bin"
sys.path.insert(1, str(ROOT))
