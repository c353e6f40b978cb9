"""How much of what takes long is tested: in CI enough to see it, by hand all that is promised."""

import os

import pytest

LONG = os.environ.get("PHOTOPROC_TEST_LONG") == "1"

by_hand = pytest.mark.skipif(not LONG, reason="by hand, with PHOTOPROC_TEST_LONG=1")
"""What takes long to show once more what a shorter test shows, or shows it elsewhere."""
