"""What the frame of the pages does in the browser by itself."""

from photoproc.ui.component import component


def frame() -> None:
    """Close the sidebar of a phone once a page is chosen."""
    component("frame")(key="frame")
