"""When a process of the stack has ended."""

from __future__ import annotations

import os
import subprocess
import sys

from dev.stack.processes import has_ended

LEADER_ENDS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print(flush=True)
ctypes.CDLL(None).syscall(60, 0)  # exit: of this thread alone
"""


def test_a_process_lives_while_any_of_its_threads_does() -> None:
    """The first one is a zombie by then, as while a killed server's others still have its port."""
    with subprocess.Popen([sys.executable, "-c", LEADER_ENDS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while _state(process.pid) != "Z":
            pass
        assert not has_ended(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert has_ended(process.pid)
    assert has_ended(process.pid)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
