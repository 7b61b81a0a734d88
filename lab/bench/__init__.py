"""The benchmark. Each figure stands beside a rival or a limit that the same run measured.

`make bench` runs it, and `python -m lab.bench --only ROW` runs one row. It sees the program from
outside, as Frigate does: a folder of Frigate's shape, the child process, its pipe and its state
files. So it still holds when the inside changes. A row of the table is a module of
`lab.bench.rows`.
"""

from tests.rig import ROOT

RIVALS = ROOT / ".venv-bench" / "bin"
