"""A closed network of queues: so many tasks go round, each from stop to stop, and wait their turn there."""

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stop:
    """A part of the system on the way of a task. Stops of one name are the same part."""

    name: str
    servers: int
    """How many tasks it can have in hand at once; the others wait, first come, first served."""
    seconds: tuple[float, ...]
    """What it took when it was measured: each time one of these by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a simulation."""

    per_s: float
    """Tasks finished a second, the first tenth left out."""
    busy: Mapping[str, float]
    """The share of its time that each part works, by its name."""


def simulate(route: Sequence[Stop], *, tasks_under_way: int, tasks: int, seed: int) -> Found:
    """Send tasks round until so many are finished: when one ends, the next begins.

    Arrivals are taken in the order of time, so who comes first to a part is served first.
    """
    chance = random.Random(seed)
    free = {stop.name: [0.0] * stop.servers for stop in route}
    worked = dict.fromkeys(free, 0.0)
    arrivals = [(0.0, number, 0) for number in range(tasks_under_way)]
    count, ended, begun, from_s = tasks_under_way, 0, tasks // 10, 0.0
    while True:
        now, _, place = heapq.heappop(arrivals)
        if place == len(route):
            ended, place = ended + 1, 0
            if ended == begun:
                from_s, worked = now, dict.fromkeys(free, 0.0)
            if ended == tasks:
                break
        stop = route[place]
        took = chance.choice(stop.seconds)
        until = max(now, heapq.heappop(free[stop.name])) + took
        heapq.heappush(free[stop.name], until)
        worked[stop.name] += took
        heapq.heappush(arrivals, (until, count, place + 1))
        count += 1
    span = now - from_s
    return Found(
        per_s=(tasks - begun) / span,
        busy={name: worked[name] / (span * len(free[name])) for name in free},
    )
