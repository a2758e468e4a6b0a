"""Reads a timer's schedule: NCRONTAB, TimeSpan, or ``%SETTING%`` naming an environment variable.

Mirrors the documented expressions: six fields with the seconds first (five: second 0), evaluated in UTC, a
day has to fit both day fields. Stricter than croniter, whose extensions Azure does not know. Left out:
full month and day names, WEBSITE_TIME_ZONE.
https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from croniter import croniter

from functions_host.errors import ScheduleError

_SETTING = re.compile(r"%([^%]+)%")
_TIME_SPAN = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})")
_VALUE = r"(?:\d+|[A-Za-z]{3})"
_FIELD = re.compile(rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/\d+)?(?:,(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/\d+)?)*")
_DAY_OUT_OF_RANGE = re.compile(r"(?<![/\d])(?:[7-9]|\d{2,})")
_FIELDS = 6
_HOURS_PER_DAY, _SIXTY = 24, 60


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a timer is due: by an NCRONTAB expression of six fields, or every ``interval``."""

    text: str
    interval: timedelta | None = None

    def next_after(self, moment: datetime) -> datetime:
        """Give the first due time after the given aware moment, in UTC."""
        start = moment.astimezone(UTC)
        if self.interval is not None:
            return start + self.interval
        cron = croniter(self.text, start, day_or=False, second_at_beginning=True)
        due: datetime = cron.get_next(datetime)
        return due


def read_schedule(written: str, *, environment: Mapping[str, str] = os.environ) -> Schedule:
    """Resolve and check a schedule; raises ScheduleError when Azure would not follow it."""
    text = _SETTING.sub(lambda found: _setting(found[1], environment), written).strip()
    if (span := _TIME_SPAN.fullmatch(text)) is not None:
        return Schedule(text=text, interval=_interval(text, *map(int, span.groups())))
    fields = text.split()
    if len(fields) == _FIELDS - 1:
        fields.insert(0, "0")
    if len(fields) != _FIELDS:
        raise ScheduleError(f"the schedule {text!r} has {len(fields)} fields, NCRONTAB has six")
    if not all(_FIELD.fullmatch(item) for item in fields) or _DAY_OUT_OF_RANGE.search(fields[-1]):
        raise ScheduleError(f"the schedule {text!r} is not an NCRONTAB expression")
    schedule = Schedule(text=" ".join(fields))
    try:
        schedule.next_after(datetime.now(UTC))
    except ValueError as error:  # croniter's errors are ValueErrors
        raise ScheduleError(f"the schedule {text!r} cannot be followed: {error}") from error
    return schedule


def _setting(name: str, environment: Mapping[str, str]) -> str:
    try:
        return environment[name]
    except KeyError:
        raise ScheduleError(f"%{name}% does not resolve: there is no setting {name}") from None


def _interval(text: str, hours: int, minutes: int, seconds: int) -> timedelta:
    interval = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if hours >= _HOURS_PER_DAY or minutes >= _SIXTY or seconds >= _SIXTY or not interval:
        raise ScheduleError(f"the schedule {text!r} is not a TimeSpan hh:mm:ss between a second and a day")
    return interval
