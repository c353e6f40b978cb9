"""ViTMatte: a network that makes a fine alpha from a picture and its trimap."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoproc.errors import ModelError
from photoproc.models.catalogue import VITMATTE, ModelSpec
from photoproc.models.checksums import verify
from photoproc.models.providers import PACKAGES, Choice
from photoproc.models.sessions import (
    available,
    of_runtime,
    opened,
    out_of_memory,
    providers_for,
    ran_on,
    session_options,
)

U8 = NDArray[np.uint8]


class ViTMatte:
    """The loaded network. Not thread-safe: a child runs one task at a time."""

    def __init__(
        self, weights: Path, *, threads: int, spec: ModelSpec = VITMATTE, choice: Choice | None = None
    ) -> None:
        """Load the weights; raises what `Matting.load` does."""
        verify(weights, spec)
        self._size_wh = spec.input_wh
        self._choice = choice or Choice()
        if self._choice.of(available()) in PACKAGES:  # which run only what is prepared for it
            self._choice = Choice(name="cpu")
        providers = providers_for(self._choice)
        try:
            self._session: Any = opened(weights, session_options(threads), providers)
        except Exception as error:
            raise _translated(
                error,
                "The weights of ViTMatte cannot be loaded.",
                "Delete the file and download it again on the System page.",
            ) from error
        ran_on(self._session, self._choice, "ViTMatte")

    def refine(self, rgb: U8, trimap: U8) -> U8:
        """The alpha of a picture (height × width × 3) whose trimap is 0, 128 or 255 (height × width).

        The network sees both at its own size, prepared as rembg does it. Raises ModelError model_broken or
        provider_missing, and MemoryError.
        """
        colours = Image.fromarray(rgb).resize(self._size_wh, Image.Resampling.BILINEAR)
        # Nothing in between: the network knows three values.
        certain = Image.fromarray(trimap).resize(self._size_wh, Image.Resampling.NEAREST)
        stacked = np.dstack([np.asarray(colours), np.asarray(certain)]).transpose(2, 0, 1)[None]
        try:
            found = self._session.run(None, {"pixel_values": stacked.astype(np.float32) / 255})[0][0, 0]
            alpha = Image.fromarray((found.clip(0, 1) * 255).astype(np.uint8))
        except Exception as error:
            raise _translated(
                error, "ViTMatte could not run on this photo.", "Choose matting instead."
            ) from error
        ran_on(self._session, self._choice, "ViTMatte")
        return np.asarray(alpha.resize((rgb.shape[1], rgb.shape[0]), Image.Resampling.BILINEAR))


def _translated(error: Exception, message: str, advice: str) -> Exception:
    if out_of_memory(error):
        return MemoryError(str(error))
    if of_runtime(error) or isinstance(error, ValueError | IndexError):
        return ModelError("model_broken", message, advice)
    return error
