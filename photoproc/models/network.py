"""Running a custom model: how a picture is fed to it, and how its output is read as a mask."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import ModelError
from photoproc.models.catalogue import ModelSpec, Network
from photoproc.names import display_name

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_TYPES: dict[str, type[np.floating[Any]]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class NetworkSession:
    """A loaded custom model, used as rembg's sessions are: `predict`, `normalize` and `inner_session`."""

    def __init__(self, session: Any, spec: ModelSpec) -> None:
        """Of what was loaded. Raises ModelError custom_shape."""
        self.inner_session = session
        assert spec.network is not None
        self._spec, self._network = spec, spec.network
        self._input, self._type = _input(self.inner_session, spec)
        self._output = _output(self.inner_session, spec, self._network)

    def predict(self, picture: Image.Image) -> list[Image.Image]:
        """The mask of an RGB picture of `spec.input_wh`.

        Raises ModelError custom_shape or custom_values where the output is none, and what onnxruntime does.
        """
        (found,) = self.inner_session.run([self._output], self.normalize(picture))
        return [Image.fromarray(mask_of(found, self._spec))]

    def normalize(self, picture: Image.Image) -> dict[str, NDArray[np.floating[Any]]]:
        """What the network is given, by the name of its input."""
        return {self._input: fed(np.asarray(picture.convert("RGB")), self._network).astype(self._type)}


def fed(rgb: U8, network: Network) -> F32:
    """What the network sees of a picture (height × width × 3): 1 × 3 × height × width.

    (value ÷ d − mean) ÷ std for each channel, where d is 255, or the picture's own largest value: that is
    what rembg does, and what its networks expect.
    """
    divisor = 255.0 if network.divide_by == 255 else max(float(rgb.max()), 1e-6)
    seen: NDArray[np.float64] = (rgb / divisor - np.array(network.mean)) / np.array(network.std)
    return np.asarray(seen.transpose(2, 0, 1)[None], np.float32)


def mask_of(found: Any, spec: ModelSpec) -> U8:
    """The mask (height × width) in a network's output, whose other sides are all 1.

    minmax: (v − least) ÷ (most − least), and nothing where all are the same; sigmoid: 1 ÷ (1 + e^−v);
    sigmoid-minmax: one after the other; none: v as it is, cut off below 0 and above 1. Then × 255,
    without its fraction, as rembg does it. Raises ModelError custom_shape or custom_values.
    """
    values, (width, height) = np.asarray(found), spec.input_wh
    shape = values.shape
    if shape[-2:] != (height, width) or values.size != width * height:
        raise _shape_error(
            spec, f"its mask is {_sizes(shape)} and must be {_sizes((1, 1, height, width))}", "output"
        )
    if values.dtype.kind not in "fui":
        raise _shape_error(spec, f"its mask is made of {values.dtype}, not of numbers", "output")
    values = values.reshape(height, width).astype(np.float32)
    if not np.isfinite(values).all():
        raise ModelError(
            "custom_values",
            f"{spec.file_name} gives values that are no numbers (NaN) or infinite.",
            "Look at mean, std and divide_by in its TOML; a network of 16 bits may need 32.",
        )
    activation = spec.network.activation if spec.network is not None else "minmax"
    if activation.startswith("sigmoid"):
        with np.errstate(over="ignore"):
            values = 1 / (1 + np.exp(-values))
    if activation.endswith("minmax"):
        least, most = values.min(), values.max()
        if not most > least:
            return np.zeros((height, width), np.uint8)
        values = (values - least) / (most - least)
    return (values.clip(0, 1) * 255).astype(np.uint8)


def _input(session: Any, spec: ModelSpec) -> tuple[str, type[np.floating[Any]]]:
    inputs, (width, height) = session.get_inputs(), spec.input_wh
    if len(inputs) != 1:
        names = ", ".join(_named(one.name) for one in inputs[:5]) or "none"
        raise _shape_error(spec, f"it takes {len(inputs)} inputs ({names}); it must take one", "input")
    (one,) = inputs
    if one.type not in _TYPES:
        raise _shape_error(spec, f"its input is {_named(one.type)}, not of 32 or 16 bit floats", "input")
    wanted = (1, 3, height, width)
    fits = len(one.shape) == 4 and all(
        not isinstance(side, int) or side == want for side, want in zip(one.shape, wanted, strict=True)
    )
    if not fits:
        raise _shape_error(
            spec,
            f"its input is {_sizes(one.shape)}; by its TOML it must be {_sizes(wanted)}",
            "input",
        )
    return one.name, _TYPES[one.type]


def _output(session: Any, spec: ModelSpec, network: Network) -> str:
    names = [str(one.name) for one in session.get_outputs()]
    if not names:
        raise _shape_error(spec, "it has no output", "output")
    if network.output is not None and network.output not in names:
        there = ", ".join(_named(name) for name in names[:8])
        raise _shape_error(spec, f"it has no output {_named(network.output)}; there is {there}", "output")
    return network.output or names[0]


_ADVICE = {
    "input": "Export it with one input, 1 × 3 × height × width, or correct input_size in its TOML.",
    "output": "Name the output that is the mask in its TOML (output), or export it with one mask.",
}


def _shape_error(spec: ModelSpec, what: str, side: str) -> ModelError:
    return ModelError("custom_shape", f"{spec.file_name} does not fit: {what}.", _ADVICE[side])


def _sizes(shape: Any) -> str:
    return " × ".join(str(side) if isinstance(side, int) else "any" for side in shape[:8]) or "one number"


def _named(text: str) -> str:
    return display_name(text)[:40]
