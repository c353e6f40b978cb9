"""What a child is told to do for a task."""

from collections.abc import Callable
from pathlib import Path

from photoproc.blobs import Blobs
from photoproc.child import Order
from photoproc.models.catalogue import VITMATTE
from photoproc.models.weights import Weights
from photoproc.recipe import NO_MODEL
from photoproc.records import Claim


class Orders:
    """Makes orders of claimed tasks."""

    def __init__(
        self, *, blobs: Blobs, weights: Weights, max_pixels: int, ask_for_refiner: Callable[[], None]
    ) -> None:
        """`ask_for_refiner` is called where a task waits for ViTMatte's weights."""
        self._blobs = blobs
        self._weights = weights
        self._max_pixels = max_pixels
        self._ask_for_refiner = ask_for_refiner

    def order(self, claim: Claim) -> Order | None:
        """What a child is to do for a task; None where that cannot be done now."""
        spec = self._weights.specs().get(claim.model)
        weights = self._weights.ready().get(claim.model)
        if claim.model != NO_MODEL and (spec is None or weights is None):  # lost between claiming and now
            return None
        refiner = self._weights.ready().get(VITMATTE.name)
        if refiner is None and claim.recipe.edges.method == "vitmatte":
            self._ask_for_refiner()
            return None
        mask = uncertainty = None
        if spec is not None:
            mask = self._blobs.mask(claim.photo.sha256, spec.name, spec.weights_id)
            if claim.recipe.certainty:
                uncertainty = self._blobs.uncertainty(claim.photo.sha256, spec.name, spec.weights_id)
        width, height = claim.photo.size_wh
        return Order(
            photo=self._blobs.photo(claim.job_id, claim.photo.sha256),
            recipe_json=claim.recipe.to_json(),
            model=spec,
            weights=weights,
            mask=mask,
            outbox=self._blobs.outbox(claim.token),
            max_pixels=self._max_pixels,
            background=self._background(claim),
            refiner=refiner,
            uncertainty=uncertainty,
            pixels=width * height,
        )

    def _background(self, claim: Claim) -> Path | None:
        picture = claim.recipe.picture
        return None if picture is None else self._blobs.photo(claim.job_id, picture)
