"""Who may look: the names that the page is reached by, the token, and the headers that every answer has."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADERS", "Door", "Guard"]

HEADERS = {
    # No script, style, font or picture of any other host; nothing written into the page itself is run.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_STATIC = "/static/"
_REFUSED = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>auflow: a token is needed</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/page.css">
<main class="refused">
<h1>This page needs its token</h1>
<p>Open the address that the service has written into its log; it ends in <code>/?token=…</code>.
If the token was given to it in an environment variable, ask whoever runs the service.</p>
<form action="/" method="get">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required>
<button type="submit">Open</button>
</form>
</main>
"""


@dataclass(frozen=True, slots=True)
class Door:
    """Where the page is, and what opens it."""

    host: str  # that it listens on, without brackets
    port: int
    token: str = ""  # "" where everybody on this machine may look

    @property
    def cookie_name(self) -> str:
        """Cookies are the same for all ports of a host: two services must not take each other's."""
        return f"auflow_{self.port}"

    @property
    def cookie(self) -> str:
        """What the cookie says: made from the token, of letters that every cookie may have."""
        return hmac.new(self.token.encode(), b"auflow live page", hashlib.sha256).hexdigest()

    def serves(self, host: str | None) -> bool:
        """Whether a `Host` header names this page. A page of somebody else's name that points here is none of ours.

        A number cannot be such a name. Beyond this machine its own name is taken, too.
        """
        name = _host_name(host)
        if name is None:
            return False
        try:
            number = ipaddress.ip_address(name)
        except ValueError:
            own = socket.gethostname().lower()
            names = {"localhost"} if self.loopback else {"localhost", self.host.lower(), own, f"{own}.local"}
            return name.lower() in names
        return number.is_loopback or not self.loopback

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def opens(self, token: str) -> bool:
        """Whether it is the token; takes as long for one that is nearly right."""
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.token.encode())

    def admits(self, headers: Headers) -> bool:
        """Whether a request has the cookie, or needs none."""
        if not self.token:
            return True
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        found = cookies.get(self.cookie_name)
        return found is not None and hmac.compare_digest(found.value.encode(), self.cookie.encode())


def _host_name(host: str | None) -> str | None:
    """The name or number of a `Host` header, without port and brackets; None when it is none."""
    try:
        return urlsplit(f"//{host}").hostname if host and not set(host) & set("/@?#\\ ") else None
    except ValueError:
        return None


class Guard:
    """In front of the application: nothing gets past that may not, and every answer has the headers.

    Parameters
    ----------
    app : what is guarded
    door : where it is and what opens it
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        if scope["type"] == "websocket":
            if self._refuses_socket(Headers(scope=scope)):
                await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
                return
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._answer(scope)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refuses_socket(self, headers: Headers) -> bool:
        # A script of another site can open a WebSocket to here, with the cookie; it cannot forge its origin.
        origin, host = headers.get("origin"), headers.get("host")
        if not self._door.serves(host) or not self._door.admits(headers):
            return True
        return origin is not None and origin not in (f"http://{host}", f"https://{host}")

    def _answer(self, scope: Scope) -> Response | None:
        """What a request gets that is not let in; None when it is."""
        headers, door = Headers(scope=scope), self._door
        if not door.serves(headers.get("host")):
            return PlainTextResponse("This page is not served under that name: use its address in numbers.\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("There is only something to look at here.\n", 405, {"Allow": "GET, HEAD"})
        if not door.token or scope["path"].startswith(_STATIC):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if given is not None and scope["path"] == "/" and door.opens(given[0]):
            return self._welcome()
        return None if door.admits(headers) and given is None else _refused(scope["path"])

    def _welcome(self) -> Response:
        """The token goes into a cookie and out of the address."""
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._door.cookie_name, self._door.cookie, httponly=True, samesite="strict")
        return answer


def _refused(path: str) -> Response:
    if path == "/":
        return HTMLResponse(_REFUSED, 401)
    return PlainTextResponse("This needs the token: open the page with /?token=… first.\n", 401)
