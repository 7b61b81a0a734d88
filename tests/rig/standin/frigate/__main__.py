"""The program that `python3 -m frigate` runs."""

import multiprocessing
import signal
import sys
import threading

from frigate import variant
from frigate.app import FrigateApp
from frigate.config import load
from frigate.log import setup_logging


def main() -> None:
    config = load()
    if "--validate-config" in sys.argv:
        print("Config is valid", flush=True)
        sys.exit(0)
    threading.current_thread().name = "frigate"
    listener = setup_logging()  # as in Frigate, this comes after the import of frigate.app
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    FrigateApp(config, listener).start()


if __name__ == "__main__":
    if variant.FORKS:
        multiprocessing.set_start_method("fork", force=True)
    else:
        multiprocessing.set_start_method("forkserver", force=True)
        multiprocessing.set_forkserver_preload(["frigate.workers"])
    main()
