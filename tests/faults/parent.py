"""A process with children, to be killed by a test: prints their ids, then waits for ever.

What stands at the top level here runs wherever this module is taken for the main one.
"""

import sys
import threading
from pathlib import Path
from types import ModuleType

with Path(sys.argv[1]).open("a") as ran:
    ran.write(f"{__name__}\n")


def pretend(page: str) -> None:
    """Install another main module over and over, as Streamlit does whenever a page runs."""
    while True:
        module = ModuleType("__main__")
        module.__file__ = page
        sys.modules["__main__"] = module


if __name__ == "__main__":
    from photoproc.engine.local import LocalEngine
    from tests.faults import acts

    sys.setswitchinterval(1e-5)
    threading.Thread(target=pretend, args=(sys.argv[2],), daemon=True).start()
    engine = LocalEngine(children=2, threads=1, timeout_s=600)
    folder = Path(sys.argv[1]).parent
    calls = [engine.submit(acts.hang, folder / "hanging"), engine.submit(acts.spin, folder / "spinning")]
    idle = LocalEngine(children=1, threads=1, timeout_s=600)
    print(idle.result(idle.submit(acts.pid)), flush=True)
    print(*idle.result(idle.submit(acts.modules))[0], flush=True)
    threading.Event().wait()
