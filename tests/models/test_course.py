"""Best epoch, early stopping, and the log that a killed session left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from geoseg.config import TrainConfig
from geoseg.errors import ModelError
from geoseg.models.course import Course, Scores, append_row, cut_log


def course_of(*mious: float | None) -> Course:
    course = Course()
    for miou in mious:
        course = course.after(Scores(miou=miou))
    return course


def test_the_first_of_equal_scores_is_the_best() -> None:
    course = course_of(0.1, 0.5, 0.5, 0.4)
    assert (course.epoch, course.best_epoch, course.best.miou) == (4, 2, 0.5)


def test_epochs_without_a_score_are_never_the_best() -> None:
    assert course_of(None, None).best_epoch is None
    assert course_of(None, 0.0, None).best_epoch == 2


def test_patience_counts_from_the_best_epoch() -> None:
    config = TrainConfig(epochs=10, patience=2)
    assert not course_of(0.5, 0.4).is_over(config)
    assert course_of(0.5, 0.4, 0.5).is_over(config)
    assert not course_of(0.5, 0.4, 0.6).is_over(config)
    assert not course_of(None, None, None).is_over(config)


def test_without_patience_only_the_epochs_end_a_run() -> None:
    config = TrainConfig(epochs=3, patience=0)
    assert not course_of(0.5, 0.4).is_over(config)
    assert course_of(0.5, 0.4, 0.3).is_over(config)


def test_a_course_survives_the_state_file() -> None:
    course = course_of(0.5, 0.7)
    assert Course.from_state(asdict(course)) == course


@pytest.mark.parametrize("values", [{}, {"epoch": 1, "best": {"foreign": 1}}, {"best": {}, "foreign": 1}])
def test_a_foreign_course_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        Course.from_state(values)


def test_the_log_is_cut_to_the_epochs_done(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    for epoch in (1, 2, 3):
        append_row(log, {"epoch": epoch})
    with log.open("a") as file:
        file.write('{"epo')
    cut_log(log, 2)
    assert log.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_a_log_that_was_never_begun_is_empty(tmp_path: Path) -> None:
    cut_log(tmp_path / "metrics.jsonl", 2)
    assert (tmp_path / "metrics.jsonl").read_text() == ""
