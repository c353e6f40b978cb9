"""What the kernel tells: the memory of a process as it was lately, and who kept the cores busy."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from photoproc import machine

MIB = 1024 * 1024


PEAKS = """
import json
from photoproc import machine
found = [machine.forget_peak(), machine.peak_bytes()]
block = b"x" * (200 << 20)
found.append(machine.peak_bytes())
del block
found.append(machine.peak_bytes())
machine.forget_peak()
print(json.dumps([*found, machine.peak_bytes()]))
"""


def test_the_peak_is_of_the_time_since_it_was_forgotten() -> None:
    # In a process of its own: this one gives memory back whenever it likes.
    ran = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, check=True, timeout=60)
    forgot, small, large, kept, after = json.loads(ran.stdout)
    assert forgot
    assert large - small > 190 * MIB
    assert kept == pytest.approx(large, abs=MIB)  # each core counts some pages for itself first
    assert large - after > 150 * MIB


def test_where_nothing_can_be_forgotten_it_is_of_the_whole_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = machine.peak_bytes()
    assert known is not None
    monkeypatch.setattr(machine, "_PROC", tmp_path / "none")
    assert not machine.forget_peak()
    whole = machine.peak_bytes()
    assert whole is not None
    assert whole > 10 * MIB
    assert machine.busy_s() is None
    assert machine.worked_s([os.getpid()]) == 0
    monkeypatch.setitem(sys.modules, "resource", None)
    assert machine.peak_bytes() is None


def test_work_is_told_of_the_machine_and_of_a_process() -> None:
    before, mine = machine.busy_s(), machine.worked_s([os.getpid()])
    assert before is not None
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    after = machine.busy_s()
    assert after is not None
    assert after - before >= 0.2
    assert 0.25 <= machine.worked_s([os.getpid()]) - mine <= after - before + 0.1


def test_a_process_that_is_gone_or_has_an_odd_name_stops_nothing(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert machine.worked_s([gone.pid]) == 0
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/usr/bin/sleep")
    process = subprocess.Popen([odd, "60"])
    try:
        assert machine.worked_s([process.pid]) < 5
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("groups", "files", "most"),
    [
        ("0::/a/b", {"a/b/cpu.max": "150000 100000"}, 2),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1),
        ("0::/../gone", {"cpu.max": "50000 100000"}, 1),  # a container sees its own group as the root
        (
            "4:memory:/x\n3:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "100000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            1,
        ),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("0::/a", {"a/cpu.max": "max 100000"}, None),
        ("0::/a", {"a/cpu.max": "nonsense"}, None),
        ("nonsense", {}, None),
    ],
)
def test_a_containers_quota_bounds_the_cores(
    groups: str, files: dict[str, str], most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = len(os.sched_getaffinity(0))
    for name, text in {
        "proc/self/cgroup": groups,
        **{f"cg/{name}": one for name, one in files.items()},
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    monkeypatch.setattr(machine, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "cg")
    assert machine.cores() == (there if most is None else min(there, most))
