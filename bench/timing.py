"""Whole processes timed, and the table that tells of them."""

import os
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Series:
    """Wall and CPU seconds of each run of one thing."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, argv, **options):
        """Runs a program to its end and counts it. Raises CalledProcessError when it fails."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(argv, check=True, capture_output=True, **options)
        self.wall.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return done


def show(title, rows):
    """``rows``: (what, our series, upstream's series or None); milliseconds, medians, p90 in brackets."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("", "ours ms", "CPU ms", "upstream ms", "CPU ms", "ours/upstream"):
        table.add_column(heading, justify="left" if not heading else "right")
    for what, ours, theirs in rows:
        cells = [what, _wall(ours), _cpu(ours)]
        if theirs is not None and theirs.wall:
            ratio = statistics.median(ours.wall) / statistics.median(theirs.wall)
            cells += [_wall(theirs), _cpu(theirs), f"{ratio:.2f}"]
        table.add_row(*cells)
    console = Console(width=120)
    console.print()
    console.print(table)
    console.print(f"load after: {os.getloadavg()[0]:.2f}")


def _wall(series):
    ordered = sorted(series.wall)
    return f"{statistics.median(ordered) * 1000:.0f} ({ordered[int(len(ordered) * 0.9)] * 1000:.0f})"


def _cpu(series):
    return f"{statistics.median(series.cpu) * 1000:.0f}"
