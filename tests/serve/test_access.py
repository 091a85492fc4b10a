"""Who may ask: host names, pages of other sites, and the token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request

from leafzoom.inference.loading import open_network
from leafzoom.inference.predictor import Predictor
from leafzoom.serve.access import COOKIE, Access, is_loopback
from leafzoom.serve.app import create_app
from leafzoom.serve.service import Service

TOKEN = "in-the-orchard"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def request_with(method: str = "POST", **headers: str) -> Request:
    """A request with headers; an underscore in a name is a hyphen."""
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return Request({"type": "http", "method": method, "path": "/", "headers": raw})


# Host names.


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7", "::1"]
)
def test_loopback_and_addresses_are_taken(host: str) -> None:
    """A web site can give a name of its own any address, but it cannot be an address."""
    access = Access(any_host=False)
    assert access.takes_host(request_with(host=host)) == (host != "::1")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("Localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.7", False),
        ("leaves.example", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_a_request_of_http_1_0_has_no_host() -> None:
    assert Access(any_host=False).takes_host(request_with())


@pytest.mark.parametrize(
    ("allowed", "host", "taken"),
    [
        ("leaves.example", "leaves.example", True),
        ("leaves.example", "Leaves.Example.:8443", True),
        ("leaves.example", "other.example", False),
        ("leaves.example", "my-leaves.example", False),
        ("*.example", "leaves.example", True),
        ("*.example", "a.leaves.example", True),
        ("*.example", "example", False),
        ("*.example", "leaves.example.evil", False),
        ("*", "anything.at.all", True),
    ],
)
def test_allowed_host_names(allowed: str, host: str, taken: bool) -> None:
    access = Access(any_host=False, allowed_hosts=(allowed,))
    assert access.takes_host(request_with(host=host)) == taken


@pytest.mark.parametrize(
    "host", ["127.0.0.1@evil.example", "evil.example/127.0.0.1", "a b", "", "x:99999", "[::1"]
)
def test_a_damaged_host_is_refused(host: str) -> None:
    assert not Access().takes_host(request_with(host=host))


# Pages.

PAGE = "https://leaves.example"
LOCAL = "127.0.0.1:8000"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "leaves.example", "origin": PAGE},
        {"host": "leaves.example:443", "origin": PAGE},
        {"host": "leaves.example:8443", "origin": f"{PAGE}:8443"},
        # nginx by default sends its own name for the service; the browser knows better.
        {"host": LOCAL, "origin": PAGE, "sec_fetch_site": "same-origin"},
        {"host": LOCAL, "origin": PAGE, "x_forwarded_host": "leaves.example"},
        {"host": LOCAL, "origin": PAGE, "x_forwarded_host": "leaves.example, inner.example"},
        # Programs say nothing of a page.
        {"host": LOCAL},
    ],
)
def test_requests_of_the_own_page_are_taken(headers: dict[str, str]) -> None:
    assert not Access().is_from_other_site(request_with(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": LOCAL, "origin": PAGE},
        {"host": LOCAL, "origin": PAGE, "sec_fetch_site": "cross-site"},
        {"host": LOCAL, "origin": PAGE, "sec_fetch_site": "same-site"},
        {"host": LOCAL, "origin": PAGE, "x_forwarded_host": "other.example"},
        {"host": LOCAL, "origin": "http://127.0.0.1:3000"},
        {"host": LOCAL, "origin": "null"},
        {"host": LOCAL, "origin": ""},
        {"host": LOCAL, "sec_fetch_site": "cross-site"},
    ],
)
def test_requests_of_other_pages_are_refused(headers: dict[str, str]) -> None:
    assert Access().is_from_other_site(request_with(**headers))


def test_pages_of_allowed_hosts_are_taken_whatever_host_a_proxy_names() -> None:
    access = Access(any_host=False, allowed_hosts=("leaves.example", "*"))
    assert not access.is_from_other_site(request_with(host=LOCAL, origin=f"{PAGE}:8443"))

    # All hosts are no promise about pages.
    assert access.is_from_other_site(request_with(host=LOCAL, origin="https://evil.example"))


def test_links_on_other_sites_may_lead_here() -> None:
    request = request_with("GET", host=LOCAL, sec_fetch_site="cross-site")
    assert not Access().is_from_other_site(request)


# The token.


@pytest.fixture(scope="module")
def client(trained: Path) -> Iterator[TestClient]:
    """A service that asks for a token."""
    service = Service(Predictor(open_network(str(trained))), access=Access(token=TOKEN))
    app = create_app(service)
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as client:
        yield client


@pytest.fixture(autouse=True)
def _without_cookies(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "client" in request.fixturenames:
        request.getfixturevalue("client").cookies.clear()


PATHS = [
    "/api/v1/model",
    "/api/v1/openapi.json",
    "/metrics",
    "/app.js",
    "/nothing",
    "/sign-in.html",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_the_token(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Bearer TOKEN" in answer.json()["detail"]


def test_photos_need_the_token(client: TestClient, photo_bytes: bytes) -> None:
    files = {"photos": ("a.jpg", photo_bytes)}
    assert client.post("/api/v1/predictions", files=files).status_code == 401
    answer = client.post("/api/v1/predictions", files=files, headers=BEARER)
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["x/live?", "127.0.0.1/live?", "127.0.0.1/style.css#"])
@pytest.mark.parametrize("path", ["/api/v1/model", "/live/../api/v1/model", "//live", "/live/"])
def test_an_odd_host_or_path_does_not_pass_for_an_open_one(
    client: TestClient, host: str, path: str
) -> None:
    """Starlette's `request.url` is put together with the host that the client sends."""
    assert client.get(path, headers={"host": host}).status_code in (401, 403)


@pytest.mark.parametrize("path", ["/live", "/ready", "/style.css", "/icon.svg"])
def test_states_and_the_look_of_the_page_need_no_token(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer in-the-orchar",
        "Bearer in-the-orchard2",
        "Bearer IN-THE-ORCHARD",
        "Bearer ",
        "Bearer",
        "in-the-orchard",
        "Basic in-the-orchard",
        "Bearer \xe4",
    ],
)
def test_a_wrong_token_is_refused(client: TestClient, authorization: str) -> None:
    headers = {"authorization": authorization.encode("latin-1")}
    assert client.get("/api/v1/model", headers=headers).status_code == 401


def test_the_page_asks_for_the_token_once(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 401
    assert 'action="sign-in"' in page.text
    assert "not the token" not in page.text

    wrong = client.post("/sign-in", data={"token": "guess"})
    assert wrong.status_code == 401
    assert "not the token" in wrong.text
    assert COOKIE not in client.cookies

    right = client.post("/sign-in", data={"token": TOKEN})
    assert right.status_code == 303
    assert right.headers["location"] == "./"
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/model").status_code == 200


def test_an_address_may_hold_the_token(client: TestClient) -> None:
    assert client.get("/?token=guess").status_code == 401
    answer = client.get(f"/?token={TOKEN}")
    assert answer.status_code == 303
    assert TOKEN not in answer.headers["location"]
    assert client.get("/").status_code == 200

    # Only the page's address: programs use the header.
    client.cookies.clear()
    assert client.get(f"/api/v1/model?token={TOKEN}").status_code == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(client: TestClient) -> None:
    header = client.get(f"/?token={TOKEN}").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(header.split("; "))
    assert TOKEN not in header


def test_a_cookie_of_another_token_is_refused(client: TestClient) -> None:
    client.cookies.set(COOKIE, Access(token="another").cookie_value())
    assert client.get("/api/v1/model").status_code == 401


def test_another_site_may_not_sign_in(client: TestClient) -> None:
    headers = {"origin": "https://evil.example"}
    assert client.post("/sign-in", data={"token": TOKEN}, headers=headers).status_code == 403


def test_a_sign_in_of_megabytes_is_not_read(client: TestClient) -> None:
    assert client.post("/sign-in", data={"token": "a" * 2**20}).status_code == 401


def test_a_reload_after_a_wrong_token_leads_to_the_page(client: TestClient) -> None:
    assert client.get("/sign-in").headers["location"] == "./"


def test_the_head_of_a_page_needs_the_token_too(client: TestClient) -> None:
    assert client.head("/").status_code == 401
    assert client.head("/", headers=BEARER).status_code == 200
