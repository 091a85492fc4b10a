"""Behind a reverse proxy: the documented nginx and Caddy, with a prefix and TLS, on loopback."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from leafzoom.errors import UsageError
from leafzoom.serve.proxy import parse_allowed_host, parse_root_path
from serve.service_process import ServiceProcess

GUIDE = Path(__file__).parents[2] / "docs" / "serving.md"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
CADDY = shutil.which("caddy")
START_TIMEOUT_SECONDS = 30
NAME = "leaves.example"


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs: its port, and how to reach the service through it."""

    port: int
    scheme: str
    client: httpx.Client

    @property
    def origin(self) -> str:
        """As browsers send it."""
        return f"{self.scheme}://{NAME}:{self.port}"

    def url(self, path: str) -> str:
        """The address of a path below the prefix."""
        return f"{self.scheme}://127.0.0.1:{self.port}/leafzoom{path}"

    def headers(self, **others: str) -> dict[str, str]:
        """What a browser sends."""
        return {"host": f"{NAME}:{self.port}", **others}


def documented(language: str) -> str:
    """The configuration in the guide."""
    blocks = re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = blocks
    return str(block)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed certificate and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl for a certificate, which is not here")

    folder = tmp_path_factory.mktemp("certificate")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    command += ["-keyout", f"{NAME}.key", "-out", f"{NAME}.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@contextmanager
def running(command: list[str], port: int, **options: object) -> Iterator[None]:
    """A program that listens on a port, ended by its process."""
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        wait_for_port(port, process)
        yield
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_SECONDS)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the proxy has ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the proxy did not start")


@contextmanager
def nginx(folder: Path, site: str, port: int) -> Iterator[None]:
    """nginx as the present user, with a site's configuration."""
    if NGINX is None:
        pytest.skip("needs Debian's nginx (apt-get install nginx), which is not here")

    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{name}_temp_path {folder}/{name};" for name in folders)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}\n{site}\n}}\n"
    )
    with running([NGINX, "-p", str(folder), "-c", str(configuration)], port):
        yield


@contextmanager
def nginx_with_tls(folder: Path, service: ServiceProcess, certificate: Path) -> Iterator[Proxy]:
    """The documented site, on a free port and with the test's certificate."""
    port = free_port()
    site = documented("nginx").replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    site = site.replace("/etc/ssl/", f"{certificate}/").replace(":8000/", f":{service.port}/")

    trust = ssl.create_default_context(cafile=str(certificate / f"{NAME}.pem"))
    trust.check_hostname = False
    with nginx(folder, site, port), httpx.Client(verify=trust, timeout=120) as client:
        yield Proxy(port, "https", client)


@contextmanager
def nginx_by_default(folder: Path, service: ServiceProcess, certificate: Path) -> Iterator[Proxy]:
    """A site of `proxy_pass` alone: the service is asked by its own address."""
    port = free_port()
    site = (
        f"server {{ listen 127.0.0.1:{port}; client_max_body_size 151m;\n"
        f"location /leafzoom/ {{ proxy_pass http://127.0.0.1:{service.port}/; }} }}"
    )
    with nginx(folder, site, port), httpx.Client(timeout=120) as client:
        yield Proxy(port, "http", client)


@contextmanager
def nginx_with_the_prefix(
    folder: Path, service: ServiceProcess, certificate: Path
) -> Iterator[Proxy]:
    """A site that sends the prefix on, and the host name without its port."""
    port = free_port()
    site = (
        f"server {{ listen 127.0.0.1:{port}; client_max_body_size 151m;\n"
        f"location /leafzoom {{ proxy_pass http://127.0.0.1:{service.port};\n"
        "proxy_set_header Host $host; } }"
    )
    with nginx(folder, site, port), httpx.Client(timeout=120) as client:
        yield Proxy(port, "http", client)


@contextmanager
def caddy(folder: Path, service: ServiceProcess, certificate: Path) -> Iterator[Proxy]:
    """The documented site; its automatic certificate, which needs a public name, is left out."""
    if CADDY is None:
        pytest.skip("needs Debian's caddy (apt-get install caddy), which is not here")

    port = free_port()
    site = documented("caddyfile").replace("8000", str(service.port))
    site = site.replace(f"{NAME} {{", f"http://{NAME}:{port} {{\nbind 127.0.0.1")
    path = folder / "Caddyfile"
    path.write_text("{\nadmin off\n}\n" + site)

    command = [CADDY, "run", "--adapter", "caddyfile", "--config", str(path)]
    environment = {"HOME": str(folder), "PATH": "/usr/bin"}
    with (
        running(command, port, env=environment, stderr=subprocess.DEVNULL),
        httpx.Client(timeout=120) as client,
    ):
        yield Proxy(port, "http", client)


StartProxy = Callable[[Path, ServiceProcess, Path], AbstractContextManager[Proxy]]
PROXIES: dict[str, StartProxy] = {
    "the documented nginx": nginx_with_tls,
    "nginx by default": nginx_by_default,
    "nginx that keeps the prefix": nginx_with_the_prefix,
    "the documented Caddy": caddy,
}


@pytest.fixture(scope="module")
def proxied(trained: Path) -> Iterator[ServiceProcess]:
    """The service with the documented options."""
    process = ServiceProcess(trained, "--root-path", "/leafzoom", "--allowed-host", NAME)
    yield process
    process.stop()


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest,
    proxied: ServiceProcess,
    certificate: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with PROXIES[request.param](folder, proxied, certificate) as proxy:
        yield proxy


def test_the_page_and_all_that_it_names_are_below_the_prefix(proxy: Proxy) -> None:
    page = proxy.client.get(proxy.url("/"), headers=proxy.headers())
    assert page.status_code == 200

    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    script = proxy.client.get(proxy.url("/engine-server.js"), headers=proxy.headers()).text
    addresses += re.findall(r'fetch\("([^"]+)"', script)
    assert {"style.css", "api/v1/openapi.json", "api/v1/model"} <= set(addresses)
    for address in addresses:
        expected = 405 if address == "api/v1/predictions" else 200
        answer = proxy.client.get(proxy.url(f"/{address}"), headers=proxy.headers())
        assert answer.status_code == expected, address


def test_the_prefix_without_its_slash_leads_to_the_page(proxy: Proxy) -> None:
    answer = proxy.client.get(proxy.url(""), headers=proxy.headers())
    assert answer.is_redirect
    assert answer.headers["location"].endswith("/leafzoom/")


def test_the_page_may_send_photos(proxy: Proxy, photo_bytes: bytes) -> None:
    """With the headers of a browser; a photo larger than nginx's own limit of 1 MB."""
    files = {"photos": ("a.jpg", photo_bytes + bytes(2 * 2**20))}
    answer = proxy.client.post(
        proxy.url("/api/v1/predictions"),
        files=files,
        headers=proxy.headers(origin=proxy.origin),
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["photo"] == "a.jpg"


def test_a_page_of_another_site_may_not(proxy: Proxy, photo_bytes: bytes) -> None:
    files = {"photos": ("a.jpg", photo_bytes)}
    foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    answer = proxy.client.post(
        proxy.url("/api/v1/predictions"), files=files, headers=proxy.headers(**foreign)
    )
    assert answer.status_code == 403
    assert "--allowed-host" in answer.json()["detail"]


def test_the_description_has_the_prefix(proxy: Proxy) -> None:
    answer = proxy.client.get(proxy.url("/api/v1/openapi.json"), headers=proxy.headers())
    assert answer.json()["servers"] == [{"url": "/leafzoom"}]


def test_head_is_answered_through_a_proxy(proxy: Proxy) -> None:
    answer = proxy.client.head(proxy.url("/ready"), headers=proxy.headers())
    assert answer.status_code == 200
    assert answer.content == b""


def test_the_cookie_is_for_the_prefix_and_for_tls(
    trained: Path, certificate: Path, tmp_path: Path
) -> None:
    """The proxy says which scheme the browser uses."""
    options = ("--root-path", "leafzoom/", "--allowed-host", NAME, "--token", "in-the-orchard")
    process = ServiceProcess(trained, *options)
    try:
        with nginx_with_tls(tmp_path, process, certificate) as proxy:
            address = proxy.url("/?token=in-the-orchard")
            answer = proxy.client.get(address, headers=proxy.headers())
            direct = process.get("/?token=in-the-orchard")
    finally:
        process.stop()

    assert answer.status_code == direct.status_code == 303
    assert answer.headers["location"] == "./"
    parts = set(answer.headers["set-cookie"].lower().split("; "))
    assert {"path=/leafzoom/", "secure", "httponly", "samesite=lax"} <= parts
    assert "secure" not in direct.headers["set-cookie"].lower()


def test_a_proxy_that_is_not_trusted_does_not_tell_the_scheme(trained: Path) -> None:
    """Though it is on this machine, and the page that it tells of may not send photos."""
    process = ServiceProcess(trained, "--no-proxy-headers", "--token", "in-the-orchard")
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-host": NAME}
    bearer = {"authorization": "Bearer in-the-orchard", "origin": f"https://{NAME}"}
    try:
        page = process.get("/?token=in-the-orchard", headers=forwarded)
        foreign = process.get("/api/v1/model", headers={**forwarded, **bearer})
    finally:
        process.stop()

    assert page.status_code == 303
    assert "secure" not in page.headers["set-cookie"].lower()
    assert foreign.status_code == 403


# What the command line takes.


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Leaves.Example", "leaves.example"),
        ("leaves.example:8443", "leaves.example"),
        ("leaves.example.", "leaves.example"),
        ("*.example", "*.example"),
        ("*", "*"),
        ("[fd00::1]:80", "[fd00::1]"),
    ],
)
def test_host_names_are_taken_as_people_write_them(text: str, name: str) -> None:
    assert parse_allowed_host(text) == name


@pytest.mark.parametrize("text", ["", "https://leaves.example", "leaves.example/", "a b", "*a"])
def test_other_texts_are_no_host_names(text: str) -> None:
    with pytest.raises(UsageError, match=f"--allowed-host has to be .*, not '{re.escape(text)}'"):
        parse_allowed_host(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/leafzoom", "/leafzoom"),
        ("leafzoom/", "/leafzoom"),
        ("/a/b/", "/a/b"),
        ("/", ""),
        ("", ""),
    ],
)
def test_prefixes_are_taken_as_people_write_them(text: str, path: str) -> None:
    assert parse_root_path(text) == path


@pytest.mark.parametrize("text", ["//evil.example", "https://leaves.example/a", "/a b", "/a?b"])
def test_other_texts_are_no_prefixes(text: str) -> None:
    with pytest.raises(UsageError, match="--root-path has to be a path such as /leafzoom"):
        parse_root_path(text)


def test_a_prefix_is_not_where_the_api_is() -> None:
    with pytest.raises(UsageError, match="choose another prefix"):
        parse_root_path("/api")
