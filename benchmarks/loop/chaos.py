"""Kills servers and flow runs at random moments with SIGKILL; servers start again."""

import random
import threading

from benchmarks.loop.machines import RUNS, SERVERS, Machines

VICTIMS = (*SERVERS, *RUNS)
EARLIEST, LATEST = 5.0, 40.0  # seconds between two kills


class Chaos:
    """Kills so many times, in a thread, each kind of victim in turn."""

    def __init__(self, machines: Machines, kills: int, seed: int) -> None:
        self._machines, self._random = machines, random.Random(seed)  # noqa: S311
        self.killed = dict.fromkeys(VICTIMS, 0)
        self.left = plan(kills, self._random)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Kill no more; every server runs again afterwards."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while self.left and not self._stopped.wait(self._random.uniform(EARLIEST, LATEST)):
            while not self._kill_next():  # only flow runs are left, and none is in progress
                if self._stopped.wait(0.2):
                    return

    def _kill_next(self) -> bool:
        """Kill a flow run if there is one to kill, else the next server; whether there was one."""
        for victim in sorted(self.left, key=lambda victim: victim in SERVERS):
            if victim in RUNS and not self._machines.kill_run(victim):
                continue
            if victim in SERVERS:
                self._machines.restart(victim)
            self.left.remove(victim)
            self.killed[victim] += 1
            return True
        return False


def plan(kills: int, order: random.Random) -> list[str]:
    """So many victims, every kind as often as the others."""
    rounds = [order.sample(VICTIMS, len(VICTIMS)) for _ in range(-(-kills // len(VICTIMS)))]
    return [victim for each in rounds for victim in each][:kills]
