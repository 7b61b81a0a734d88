"""The rig: servers, certificates, a stand-in Frigate, worlds, processes and waiting.

The tests, the fault campaign and the benchmark use it. `worlds`, `sinks` and `s3_sink` import the
program. The other modules do not, so that the campaign sees the program from outside.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the project."""
STANDIN = ROOT / "tests" / "rig" / "standin"
"""The folder from which `python -m frigate` starts the stand-in."""
