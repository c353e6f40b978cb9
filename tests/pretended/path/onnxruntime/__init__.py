"""Imports the real onnxruntime, and has it pretend; see `tests.pretended`."""

import importlib
import os
import sys

from tests.pretended import CPU, CUDA, PATH, pretend

sys.path.remove(str(PATH))
del sys.modules[__name__]
real = importlib.import_module(__name__)
pretend(real, CUDA, CPU, works=os.environ["PRETENDED_CUDA"] == "works")
