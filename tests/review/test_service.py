"""The page's local service: pictures, decisions, and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from leafzoom.review.decisions import DecisionFile, read_decisions
from leafzoom.review.items import Review
from leafzoom.review.service import create_review_app

BASE = "http://127.0.0.1:8001"


@pytest.fixture
def decisions(tmp_path: Path) -> DecisionFile:
    return DecisionFile(tmp_path / "review.csv")


@pytest.fixture
def client(queue: Review, decisions: DecisionFile) -> Iterator[TestClient]:
    with TestClient(create_review_app(queue, decisions), base_url=BASE) as client:
        yield client


def number_of(queue: Review, kind: str) -> int:
    return next(number for number, item in enumerate(queue.items) if kind in item.kinds)


def test_the_review_has_every_kind_that_the_data_give(client: TestClient, queue: Review) -> None:
    content = client.get("/api/review").json()

    kinds = {kind for item in content["items"] for kind in item["kinds"]}
    assert {"duplicate", "label", "unlabelled"} <= kinds
    assert len(content["items"]) == len(queue.items)
    assert content["labels"] == list(queue.labels)
    assert "path" not in content["items"][0]


def test_pictures_are_jpegs(client: TestClient, queue: Review) -> None:
    number = number_of(queue, "duplicate")
    label = queue.labels[0]
    for path in ("views/1.jpg", "views/2.jpg", "twin.jpg", f"views/2.jpg?evidence={label}"):
        answer = client.get(f"/api/items/{number}/{path}")
        assert answer.status_code == 200, answer.text
        assert Image.open(io.BytesIO(answer.content)).format == "JPEG"


def test_zooms_show_what_is_in_their_boxes(client: TestClient, queue: Review) -> None:
    item = queue.items[0]
    picture = Image.open(io.BytesIO(client.get("/api/items/0/views/2.jpg").content))
    box = tuple(round(edge) for edge in item.boxes[0])

    expected = Image.open(item.path).convert("RGB").crop(box).resize((8, 8), Image.Resampling.BOX)
    shown = picture.resize((8, 8), Image.Resampling.BOX)
    differences = [
        abs(first - second)
        for first, second in zip(expected.tobytes(), shown.tobytes(), strict=True)
    ]
    assert sum(differences) / len(differences) < 6


@pytest.mark.parametrize(
    "path",
    [
        "/api/items/999/views/1.jpg",
        "/api/items/-1/views/1.jpg",
        "/api/items/0/views/0.jpg",
        "/api/items/0/views/9.jpg",
        "/api/items/0/views/1.jpg?evidence=nothing",
        "/nothing.js",
    ],
)
def test_what_is_not_there_is_404(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_photo_that_is_gone_is_named(
    client: TestClient, queue: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leafzoom.review import pictures

    def fail(path: Path) -> None:
        from leafzoom.errors import PhotoError

        raise PhotoError(f"{path} is gone")

    monkeypatch.setattr(pictures, "read_photo", fail)
    answer = client.get("/api/items/0/views/1.jpg")
    assert answer.status_code == 410
    assert "is gone" in answer.json()["detail"]


def test_every_choice_is_saved_at_once(
    client: TestClient, queue: Review, decisions: DecisionFile
) -> None:
    item = queue.items[0]
    other = next(label for label in queue.labels if label not in item.given)
    for body, expected in (
        ({"choice": "keep"}, ("keep", item.given)),
        ({"choice": "change", "labels": [other]}, ("change", (other,))),
        ({"choice": "change", "labels": list(item.given)}, ("keep", item.given)),
        ({"choice": "leave_out"}, ("leave_out", item.given)),
        ({"choice": "unsure"}, ("unsure", item.given)),
    ):
        answer = client.put("/api/decisions/0", json=body)
        assert answer.status_code == 200, answer.text
        (row,) = read_decisions(decisions.path)
        assert (row.decision.choice, row.decision.labels) == expected
        assert row.decision.given == item.given
        assert client.get("/api/review").json()["decisions"]["0"] == answer.json()

    assert client.delete("/api/decisions/0").status_code == 200
    assert read_decisions(decisions.path) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"choice": "change", "labels": ["nothing"]}, 422),
        ({"choice": "change", "labels": []}, 422),
        ({"choice": "change", "labels": "scab"}, 422),
        ({"choice": "perhaps"}, 422),
        ({}, 422),
        ([1], 400),
        ({"choice": "keep", "labels": ["x" * 20_000]}, 413),
    ],
)
def test_a_decision_that_cannot_be_is_refused(
    client: TestClient, decisions: DecisionFile, body: object, status: int
) -> None:
    answer = client.put("/api/decisions/0", json=body)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)
    assert not decisions.path.exists()


def test_other_formats_items_and_sites_are_refused(
    client: TestClient, decisions: DecisionFile
) -> None:
    keep = {"choice": "keep"}
    text = {"Content-Type": "text/plain"}
    assert (
        client.put("/api/decisions/0", content='{"choice": "keep"}', headers=text).status_code
        == 415
    )
    json_type = {"Content-Type": "application/json"}
    assert client.put("/api/decisions/0", content="{", headers=json_type).status_code == 400
    assert client.put("/api/decisions/999", json=keep).status_code == 404
    assert client.delete("/api/decisions/-1").status_code == 404

    foreign = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert client.put("/api/decisions/0", json=keep, headers=foreign).status_code == 403
    assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 403
    assert not decisions.path.exists()


def test_a_decision_that_cannot_be_written_is_an_error(queue: Review, tmp_path: Path) -> None:
    lost = DecisionFile(tmp_path / "missing" / "review.csv")
    with TestClient(create_review_app(queue, lost), base_url=BASE) as client:
        answer = client.put("/api/decisions/0", json={"choice": "keep"})
    assert answer.status_code == 500
    assert "cannot write" in answer.json()["detail"]


def test_answers_have_the_security_headers(client: TestClient) -> None:
    for path in ("/", "/review.js", "/style.css", "/api/review"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
