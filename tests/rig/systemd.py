"""A machine whose first process is a real systemd: the files of this one below an overlay, booted
by systemd-nspawn.

What it writes lies in memory, in a mount namespace that ends with the last of its processes. These
end with the test, also when the test is killed. It has the network of this machine, so it reaches
servers on 127.0.0.1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.rig import ROOT, processes
from tests.rig.waiting import PATIENCE, until

# systemd-nspawn leaves files in /run and cgroups, so it gets a /run and cgroups of its own. The
# machine starts no service of this one. It boots at each line, and ends at the end of the input.
KEEPER = """
for folder in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e $folder/cgroup.procs ] || continue
    mkdir -p $folder/$1
    echo 0 > $folder/$1/cgroup.procs
done
mount -t tmpfs -o size=4g tmpfs /run
mkdir /run/upper /run/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root
rm -rf /run/root/etc/systemd/system/* /run/root/var/log/journal
tr -d - < /proc/sys/kernel/random/uuid > /run/root/etc/machine-id
mkdir /run/root/var/log/journal
while read -r; do
    systemd-nspawn --boot --directory=/run/root --machine=cameras "--bind-ro=$2:/srv/project" \
        --register=no --keep-unit --link-journal=no --console=pipe \
        systemd.unit=multi-user.target < /dev/null &
done
"""
ENVIRON = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb", "SYSTEMD_COLORS": "0",
}  # fmt: skip


def missing() -> str:
    """Returns why there can be no such machine, or an empty text."""
    if os.geteuid() != 0:
        return "booting a machine needs root"
    for program in ("systemd-nspawn", "nsenter", "unshare"):
        if not shutil.which(program):
            return f"there is no {program} (Debian: apt-get install systemd-container util-linux)"
    return ""


class Machine:
    """`console` is a file for what it says while it boots. The project is its /srv/project."""

    def __init__(self, console: Path) -> None:
        self._console = console
        self._name = f"cameras-{os.getpid()}"
        self._init = 0
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"]
        with console.open("wb") as log:
            self._keeper = subprocess.Popen(
                [*words, "-euc", KEEPER, "keeper", self._name, str(ROOT)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def boot(self) -> None:
        """Boots it, and waits until it is up."""
        assert self._keeper.stdin
        self._keeper.stdin.write(b"boot\n")
        self._keeper.stdin.flush()
        self._init = until(self._find_init, self._console.read_text)
        up = "systemctl is-active multi-user.target"
        until(lambda: self.tell(up).returncode == 0, self._console.read_text, every=0.2)

    def _find_init(self) -> int:
        assert self._keeper.poll() is None, self._console.read_text()
        parents = processes.parents()
        for pid, parent in parents.items():
            ours = parents.get(parents.get(parent, 0)) == self._keeper.pid
            if ours and processes.runs(pid, "/systemd\0") and processes.runs(parent, "nspawn"):
                return pid
        return 0

    def tell(self, words: str) -> subprocess.CompletedProcess[str]:
        """Runs words of the shell there as root."""
        enter = ["nsenter", "-t", str(self._init), "--all", "--root", "--wd", "bash", "-c"]
        return subprocess.run(
            [*enter, words], capture_output=True, text=True, env=ENVIRON, timeout=5 * PATIENCE
        )

    def run(self, words: str) -> str:
        """Runs words of the shell, which must succeed; returns what they say."""
        done = self.tell(words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def path(self, path: str) -> Path:
        """A file of the machine, as it is reached from here."""
        return Path(f"/proc/{self._init}/root{path}")

    def shut_down(self) -> None:
        self.tell("systemctl poweroff")
        until(lambda: not processes.state(self._init), self._console.read_text)

    def end(self) -> None:
        """Removes everything of it."""
        assert self._keeper.stdin
        self._keeper.stdin.close()
        try:
            self._keeper.wait(PATIENCE)
        finally:
            self._keeper.kill()
            self._keeper.wait()
            for folder in Path("/sys/fs/cgroup").glob(f"**/{self._name}"):
                below = (path for path in folder.rglob("*") if path.is_dir())
                for group in sorted(below, reverse=True):
                    group.rmdir()
                folder.rmdir()
