"""A budget of memory: taken whole or not at all, measured by what is free here."""

import pytest

from thermocline.data import memory_budget as budget
from thermocline.data.memory_budget import Budget, free_memory


def test_caches_share_it():
    shared = Budget.of(1e-6)  # 1,000 bytes
    assert shared.take(600)
    assert not shared.take(500)
    assert shared.left == 400
    assert shared.take(400)
    shared.give_back(600)
    assert shared.take(500)
    assert "of 0.00 GB" in repr(shared)


def test_more_than_it_has_cannot_be_given_back():
    shared = Budget(10)
    shared.give_back(5)
    assert shared.left == 10


def test_by_default_it_is_a_quarter_of_what_is_free():
    assert 0 < free_memory() < 2**60
    assert Budget.of(None).size == pytest.approx(free_memory() / 4, rel=0.5)


def write(folder, limit, used, stat):
    for name, text in (limit, used, stat):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "CONTROL_GROUP", tmp_path)
    whole = free_memory()
    write(tmp_path, ("memory.max", "max\n"), ("memory.current", "70\n"), ("memory.stat", "inactive_file 30\n"))
    assert free_memory() > 0.5 * whole
    (tmp_path / "memory.max").write_text("100\n")
    assert free_memory() == 100 - 70 + 30
    (tmp_path / "memory.current").write_text("170\n")
    assert free_memory() == 0


def test_and_of_an_older_one(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "CONTROL_GROUP", tmp_path)
    write(
        tmp_path,
        ("memory/memory.limit_in_bytes", "100"),
        ("memory/memory.usage_in_bytes", "60"),
        ("memory/memory.stat", "cache 9\ninactive_file 1\ntotal_inactive_file 20"),
    )
    assert free_memory() == 60
