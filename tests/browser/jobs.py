"""Jobs that are handed in over the API, as a program would."""

import io
import json
import urllib.request
from collections.abc import Iterable, Sequence


def submitted(url: str, files: Iterable[tuple[str, bytes]], models: Sequence[str]) -> str:
    """The id of a job of these files, by their names, with these models."""
    mark, head, body = "----mark", "Content-Disposition: form-data; name=", io.BytesIO()
    for name, data in files:
        body.write(f'--{mark}\r\n{head}"files"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n")
    recipe = json.dumps({"models": list(models)})
    body.write(f'--{mark}\r\n{head}"recipe"\r\n\r\n{recipe}\r\n--{mark}--\r\n'.encode())
    headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    request = urllib.request.Request(f"{url}/api/v1/jobs", data=body.getvalue(), headers=headers)
    with urllib.request.urlopen(request, timeout=600) as answer:
        return str(json.load(answer)["id"])
