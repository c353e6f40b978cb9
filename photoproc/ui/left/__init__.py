"""What a tab of the browser had uploaded before its page was loaded again."""

from photoproc.ui.component import component


def left(*, key: str) -> str | None:
    """Ask the tab: the batch that it remembers, in the one run in which it answers. It shows nothing."""
    batch: str | None = component("left")(data=None, key=key, on_batch_change=lambda: None).batch
    return batch
