"""Kills servers at random moments with SIGKILL, and starts them again, as a supervisor would."""

import random
import threading
from contextlib import suppress

import psutil

from benchmarks.loop.machines import Machines

VICTIMS = ("service", "worker", "server", "run")  # a run: the process of a flow run
EARLIEST, LATEST = 10.0, 60.0  # seconds between two kills


class Chaos:
    """Kills so many times, in a thread."""

    def __init__(self, machines: Machines, kills: int, seed: int) -> None:
        self._machines, self._random = machines, random.Random(seed)  # noqa: S311
        self.left, self.killed = kills, dict.fromkeys(VICTIMS, 0)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Kill no more; everything runs again afterwards."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        order = [VICTIMS[number % len(VICTIMS)] for number in range(self.left)]
        self._random.shuffle(order)
        for victim in order:
            if self._stopped.wait(self._random.uniform(EARLIEST, LATEST)):
                return
            if victim == "run":
                if not self._kill_run():
                    continue
            else:
                self._machines.restart(victim)
            self.killed[victim] += 1
            self.left -= 1

    def _kill_run(self) -> bool:
        """Kill the flow run that is in progress, with all its children; whether there was one."""
        worker = psutil.Process(self._machines.processes["worker"].pid)
        found = worker.children(recursive=True)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return bool(found)
