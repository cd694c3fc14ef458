"""Leaving the process group: not before all that holds it is gone."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from paper_repro.arvdm import training


class Wrapper:
    """Stands for what averages gradients: it holds the group, and is part of a cycle."""

    def __init__(self) -> None:
        self.cycle = self


@pytest.mark.parametrize("fails", [False, True])
def test_the_process_group_is_left_last(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Wrapper]] = []
    alive: list[bool] = []

    @training._processes()
    def work() -> int:
        wrapper = Wrapper()
        made.append(weakref.ref(wrapper))
        if fails:
            raise FloatingPointError("the loss is nan")
        return 7

    def leave() -> None:
        alive.append(made[0]() is not None)

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", leave)
    gc.disable()  # it must not be luck
    try:
        if fails:
            with pytest.raises(FloatingPointError, match="the loss is nan"):
                work()
        else:
            assert work() == 7
    finally:
        gc.enable()
    assert alive == [False]


def test_without_a_group_there_is_none_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "destroy_process_group", pytest.fail)
    assert training._processes()(lambda: 7)() == 7
