"""An OpenID Connect provider of our own on this machine: it lets anybody be anybody, by a click."""

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwk, jwt

CLIENT, SECRET = "photoproc", "a-secret-of-the-client"
PEOPLE: Mapping[str, Mapping[str, Any]] = {
    "Alice": {"sub": "1", "email": "Alice@example.org", "email_verified": True},
    "Bob": {"sub": "2", "email": "bob@example.org", "email_verified": True},
    "Root": {"sub": "3", "email": "root@example.org", "email_verified": True},
    "Mallory": {"sub": "4", "email": "alice@example.org", "email_verified": False},
    "Nameless": {"sub": "5"},
}
"""Who there is, with their claims."""


@contextmanager
def providing(port: int) -> Iterator[str]:
    """The provider at work; its address."""
    issuer = f"http://localhost:{port}"
    key = jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
    codes: dict[str, tuple[str, str]] = {}  # by code: who, and the nonce

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            if address.path == "/.well-known/openid-configuration":
                self._json(
                    {
                        "issuer": issuer,
                        "authorization_endpoint": f"{issuer}/authorize",
                        "token_endpoint": f"{issuer}/token",
                        "jwks_uri": f"{issuer}/keys",
                        "response_types_supported": ["code"],
                        "subject_types_supported": ["public"],
                        "id_token_signing_alg_values_supported": ["RS256"],
                    }
                )
            elif address.path == "/keys":
                self._json({"keys": [key.as_dict(private=False)]})
            elif address.path == "/authorize" and "who" in asked:
                code = secrets.token_hex(8)
                codes[code] = asked["who"], asked.get("nonce", "")
                back = urlencode({"code": code, "state": asked["state"]})
                self.send_response(302)
                self.send_header("Location", f"{asked['redirect_uri']}?{back}")
                self.end_headers()
            elif address.path == "/authorize":
                links = "".join(f'<p><a href="{self.path}&who={who}">{who}</a>' for who in PEOPLE)
                self._send(f"<title>Who are you?</title>{links}".encode(), "text/html")
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            who, nonce = codes.pop(form["code"][0])
            now = int(time.time())
            claims = {"iss": issuer, "aud": CLIENT, "iat": now, "exp": now + 600, "nonce": nonce, "name": who}
            token = jwt.encode({"alg": "RS256", "kid": "one"}, claims | dict(PEOPLE[who]), key)
            self._json({"access_token": "none", "token_type": "Bearer", "expires_in": 600, "id_token": token})

        def _json(self, what: object) -> None:
            self._send(json.dumps(what).encode(), "application/json")

        def _send(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("localhost", port), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield issuer
        httpd.shutdown()
        thread.join()


def secrets_toml(issuer: str, port: int) -> str:
    """What a server on this port is told of it."""
    return f"""[auth]
redirect_uri = "http://localhost:{port}/oauth2callback"
cookie_secret = "{secrets.token_hex(16)}"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
server_metadata_url = "{issuer}/.well-known/openid-configuration"
"""
