"""How much of what takes long is tested: in CI enough to see it, by hand all that is promised."""

import os

LONG = os.environ.get("PHOTOPROC_TEST_LONG") == "1"
