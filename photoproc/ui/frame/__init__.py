"""What the frame of the pages does in the browser by itself."""

from photoproc.ui.component import component


def frame(*, signed_out: bool = False) -> None:
    """Close the sidebar of a phone once a page is chosen; remember the way of who has to sign in first; say
    in our words that the server is gone."""
    component("frame")(data={"signedOut": signed_out}, key="frame")
