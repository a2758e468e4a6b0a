"""NCRONTAB and TimeSpan schedules."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from functions_host.errors import ScheduleError
from functions_host.schedule import read_schedule

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("written", "due"),
    [
        ("0 */5 * * * *", datetime(2026, 1, 1, 0, 5, tzinfo=UTC)),
        ("*/5 * * * *", datetime(2026, 1, 1, 0, 5, tzinfo=UTC)),
        ("30 0 * * * *", datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)),
        ("*/10 * * * * *", datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)),
        ("0 30 9 * * 1-5", datetime(2026, 1, 1, 9, 30, tzinfo=UTC)),
        ("0 30 9 * Jan Mon", datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        ("0 0 0 1 * 1", datetime(2026, 6, 1, tzinfo=UTC)),
        ("00:00:30", NEW_YEAR + timedelta(seconds=30)),
        ("%SCHEDULE%", datetime(2026, 1, 1, 6, tzinfo=UTC)),
        ("0 0 %HOUR% * * *", datetime(2026, 1, 1, 7, tzinfo=UTC)),
    ],
)
def test_the_first_due_time(written: str, due: datetime) -> None:
    schedule = read_schedule(written, environment={"SCHEDULE": "0 0 6 * * *", "HOUR": "7"})

    assert schedule.next_after(NEW_YEAR) == due
    assert schedule.next_after(NEW_YEAR.astimezone(timezone(timedelta(hours=5)))) == due


@pytest.mark.parametrize(
    "written",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "0 0 0 ? * *",
        "0 0 0 L * *",
        "0 0 0 * * 7",
        "0 0 0 * * Mon#1",
        "@hourly",
        "60 * * * * *",
        "0 0 0 30 2 *",
        "24:00:00",
        "00:60:00",
        "00:00:00",
        "%MISSING%",
    ],
)
def test_what_azure_would_not_follow_is_refused(written: str) -> None:
    with pytest.raises(ScheduleError):
        read_schedule(written, environment={})


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ScheduleError, match="there is no setting RECONCILE_SCHEDULE"):
        read_schedule("%RECONCILE_SCHEDULE%", environment={})
