"""What a child process does with single files: headers, thumbnails, forms, and what APIs want of a cutout.

Heavy imports happen inside functions.
"""

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

from photoproc.child import disk_full, is_disk_full, is_out_of_memory, out_of_memory
from photoproc.errors import PhotoprocError, Problem, not_found

if TYPE_CHECKING:
    from photoproc.finish import Finish, Finished
    from photoproc.imaging.decode import PhotoInfo

_MAX_TEXT = 8 * 1024
"""Characters of a form's fields: they go back through the pipe."""


def inspect(path: Path, name: str, max_pixels: int) -> "PhotoInfo | Problem":
    """Read a photo's header: what it is, or why it is refused."""
    from photoproc.imaging import decode

    try:
        return decode.inspect(path, name, max_pixels=max_pixels)
    except PhotoprocError as error:
        return error.problem


def thumbnail(photo: Path, target: Path, longest: int, max_pixels: int) -> Problem | None:
    """Write a small WebP of a picture, `longest` pixels at most; the problem where that cannot be done."""
    from photoproc.imaging import decode, encode

    try:
        small, icc = decode.thumbnail(photo.read_bytes(), longest=longest, max_pixels=max_pixels)
        part = target.with_name(f"{target.name}.{os.getpid()}")
        part.write_bytes(encode.to_preview(small, icc))
        os.replace(part, target)
    except PhotoprocError as error:
        return error.problem
    except FileNotFoundError:  # dropped, or made a job, meanwhile
        return not_found("photo").problem
    return None


def finish(photo: Path, mask: Path, target: Path, asked: "Finish", max_pixels: int) -> "Finished | Problem":
    """Write what an API wants of a photo and its mask; the problem where that cannot be done."""
    from photoproc.imaging import finish as finishing

    try:
        data, report = finishing.finish(photo.read_bytes(), mask.read_bytes(), asked, max_pixels=max_pixels)
        target.write_bytes(data)
    except PhotoprocError as error:
        return error.problem
    except OSError as error:
        if not is_disk_full(error):
            raise
        return disk_full()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        gc.collect()
        return out_of_memory()
    return report


def unwrap(body: Path, target: Path, media_type: str, field: str) -> dict[str, str] | Problem:
    """Write the file that a JSON object or URL-encoded form holds in `field`, as base64.

    Returns the other fields, without those that are null; `target` is left out where `field` is.
    """
    import base64
    import json
    from urllib.parse import parse_qsl

    data = body.read_bytes()
    try:
        if media_type == "application/json":
            fields = json.loads(data)
        else:
            fields = dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=1000))
        if not isinstance(fields, dict):
            return _not_a_form("it is not an object")
        encoded = fields.pop(field, None)
        if encoded:
            plain = "".join(str(encoded).split())
            target.write_bytes(base64.b64decode(plain, validate=True))
    except RecursionError:
        return _not_a_form("it is nested too deep")
    except ValueError as error:
        return _not_a_form(str(error))
    texts = {_as_text(name): _as_text(value) for name, value in fields.items() if value is not None}
    if sum(len(name) + len(text) for name, text in texts.items()) > _MAX_TEXT:
        return _not_a_form("its fields are too long")
    return texts


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).encode(errors="replace").decode()


def _not_a_form(why: str) -> Problem:
    return Problem(code="form_broken", message=f"The request cannot be read: {why}.", advice="Send it again.")
