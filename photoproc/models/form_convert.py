"""A network in smaller numbers, by onnxruntime's own tools: needs the package onnx, and is run in a child."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from PIL import Image, ImageOps

from photoproc.models.catalogue import ModelSpec
from photoproc.models.forms import Kind
from photoproc.models.network import fed
from photoproc.samples import form_photos

_OPSET = 13
"""The first in which each channel of the weights has a scale of its own."""
_IN_8_BITS = ["Conv", "Relu", "MaxPool", "Concat"]
"""What the networks spend their time on, and what lies between: the rest stays as it is."""


class _Pictures:
    """Photos, each also mirrored, from which the range of each value inside the network is taken."""

    def __init__(self, name: str, form: ModelSpec) -> None:
        self._fed = self._all(name, form)

    def get_next(self) -> dict[str, Any] | None:
        """The next photo as the network is fed it; None after the last."""
        return next(self._fed, None)

    @staticmethod
    def _all(name: str, form: ModelSpec) -> Iterator[dict[str, Any]]:
        assert form.network is not None
        for path in form_photos()[0]:
            photo = Image.open(path).convert("RGB").resize(form.input_wh, Image.Resampling.LANCZOS)
            for one in (photo, ImageOps.mirror(photo)):
                yield {name: fed(np.asarray(one), form.network)}


def convert(original: Path, file: Path, kind: Kind, form: ModelSpec) -> None:
    """Write the form of a network; raises what onnx and onnxruntime do where they cannot take it."""
    logging.disable(logging.WARNING)  # hints on how to quantise better, for whoever calls these by hand
    if kind == "fp16":
        onnx.save(convert_float_to_float16(onnx.load(original), keep_io_types=True), file)
        return
    network, newer, ready = onnx.load(original), file.with_name("newer.onnx"), file.with_name("ready.onnx")
    name = network.graph.input[0].name
    onnx.save(onnx.version_converter.convert_version(network, _OPSET), newer)
    quant_pre_process(newer, ready, skip_symbolic_shape=True)
    quantize_static(
        ready,
        file,
        _Pictures(name, form),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_IN_8_BITS,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
