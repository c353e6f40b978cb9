"""The models: what exists, where its weights come from, and running it."""

import os

# onnxruntime reports its use to its makers, unless it is told not to before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
