"""The file of decisions: whole after each of them, read again, refused where it is damaged."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from leafzoom.errors import DataError, LeafzoomError
from leafzoom.review.decisions import DecisionFile, ReviewDecision, read_decisions

HEADER = "image,decision,labels,given,suggested,kinds,score,decided_at\n"


def decision(name: str = "a.jpg", labels: tuple[str, ...] = ("scab",)) -> ReviewDecision:
    return ReviewDecision(
        image_name=name,
        choice="change",
        labels=labels,
        given=("rust",),
        suggested=("scab",),
        kinds=("label",),
        score=0.75,
        decided_at="2026-01-01T00:00:00Z",
    )


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    strange = decision('läuse, "neu"\n.jpg', ("scab", "rust"))
    file = DecisionFile(path)
    file.save(decision())
    file.save(strange)

    again = DecisionFile(path)

    assert again.all() == {"a.jpg": decision(), strange.image_name: strange}
    assert [row.decision for row in read_decisions(path)] == [decision(), strange]


def test_a_decision_is_replaced_and_taken_back(tmp_path: Path) -> None:
    file = DecisionFile(tmp_path / "review.csv")
    file.save(decision())
    file.save(decision(labels=("rust", "scab")))
    assert file.all()["a.jpg"].labels == ("rust", "scab")

    file.remove("a.jpg")
    file.remove("never there.jpg")
    assert DecisionFile(file.path).all() == {}


def test_threads_lose_nothing(tmp_path: Path) -> None:
    file = DecisionFile(tmp_path / "review.csv")
    threads = [
        threading.Thread(target=file.save, args=(decision(f"{number}.jpg"),))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_decisions(file.path)) == 20


def test_what_cannot_be_written_is_not_remembered(tmp_path: Path) -> None:
    file = DecisionFile(tmp_path / "missing" / "review.csv")
    with pytest.raises(LeafzoomError, match="cannot write"):
        file.save(decision())
    assert file.all() == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\na.jpg,scab\n", "has no column decision"),
        (f"{HEADER}a.jpg,maybe,scab,rust,,,,\n", "row 2: 'a.jpg' has the decision 'maybe'"),
        (f"{HEADER}a.jpg,keep\n", "row 2: has no cell for labels"),
        (f"{HEADER},keep,scab,scab,,,,\n", "row 2: names no photograph"),
        (f"{HEADER}a.jpg,keep,,,,,much,\n", "row 2: 'a.jpg' has the score 'much'"),
        (
            f"{HEADER}a.jpg,keep,scab,scab,,,,\na.jpg,unsure,,scab,,,,\n",
            "row 3: 'a.jpg' is in row 2 already",
        ),
    ],
)
def test_a_damaged_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "review.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_decisions(path)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(DataError, match="no CSV in UTF-8"):
        read_decisions(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_decisions(tmp_path)
