"""Figure 6: which parts of the network each loss reaches."""

from __future__ import annotations

from experiments.reach import reached_parts


def test_each_loss_reaches_its_own_part_alone_where_losses_are_apart() -> None:
    reached = reached_parts("alternate")
    assert reached["L_cls 1"] == {"backbone 1": True}
    assert reached["L_cls 3"] == {"backbone 3": True}
    assert reached["L_rank 2, 3"] == {"backbone 3": False, "APN 2": True}


def test_scale_3s_loss_reaches_scale_1_where_losses_are_shared() -> None:
    reached = reached_parts("shared")
    assert reached["L_cls 3"]["backbone 1"] is True
    assert reached["L_cls 3"]["APN 1"] is False
    assert reached["L_rank 2, 3"]["APN 1"] is True
    assert reached_parts("joint")["L_rank 1, 2"]["backbone 1"] is True
