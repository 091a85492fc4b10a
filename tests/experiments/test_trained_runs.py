"""Reading the answers that `leafzoom evaluate` wrote."""

from __future__ import annotations

from pathlib import Path

from experiments.trained_runs import read_answers, read_predictions

PREDICTIONS = """\
image,labels,predicted_fusion12,scale1_rust,scale1_scab,scale2_rust,scale2_scab,fusion12_rust
b.jpg,rust,rust,0.9,0.1,0.4,0.1,0.9
a.jpg,scab rust,scab,0.5,0.7,0.2,0.9,0.9
"""


def test_answers_are_the_last_fusions_decision_and_every_scale_at_half(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(PREDICTIONS, encoding="utf-8")

    answers = read_answers(read_predictions(path))
    assert answers.image_names == ["a.jpg", "b.jpg"]
    assert answers.correct.tolist() == [False, True]
    assert answers.correct_at_half["scale1"].tolist() == [True, True]
    assert answers.correct_at_half["scale2"].tolist() == [False, False]
    assert list(answers.correct_at_half) == ["scale1", "scale2"]
