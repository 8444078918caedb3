"""A step under way in a few lines of eighty columns, or in one."""

from __future__ import annotations

from rich.text import Text

from banana_delivery.policy.rollout.live import Evidence, LiveStep, Seen
from banana_delivery.quoting import one_line

BAR = 20
STALE_SECONDS = 5.0
"""What is older is said to be: the owner writes every second or two, and clocks differ a little."""
NAMES = {"failures": "failures", "slow": "slow", "overload": "turned away", "worse_than_active": "worse than active"}


def step_lines(step: LiveStep, now: float) -> list[Text]:
    """The step under way: where it stands, what was seen, what speaks for and against the candidate.

    Args:
        step: as its owner saw it last.
        now: seconds since the epoch, by the clock here.
    """
    age = max(now - step.at, 0.0)
    old = f", seen {age:.0f} s ago" if age > STALE_SECONDS else ""
    lines = [
        Text(
            f"  Step {step.number}/{step.steps} {step.kind} at {step.weight} %: {_clock(step.seconds)}, ends within "
            f"{_clock(step.left)}, at most {_clock(step.left_at_most)}; then {_clock(step.left_after)}{old}"
        )
    ]
    if step.paused:
        lines.append(Text(f"  PAUSED, {one_line(step.paused)}", "yellow"))
    lines.append(Text(f"  candidate {_seen(step.candidate)}; active {_seen(step.active, '')}"))
    lines += [_against(one) for one in step.against[:2]] or [Text(f"  {_bar(0)} nothing against it")]
    share = step.healthy / step.healthy_needed
    lines.append(Text(f"  {_bar(share)} {step.healthy:.1f} of {step.healthy_needed:.1f} for it: healthy"))
    lines.append(Text(f"  {one_line(step.reason)}", "dim"))
    return lines


def step_line(step: LiveStep) -> str:
    """The same as one line of a log."""
    strongest = step.strongest
    against = (
        f"{strongest.log_e:.1f} of {strongest.needed:.1f} against it ({NAMES[strongest.limit]})"
        if strongest
        else "nothing against it"
    )
    paused = f" paused, {step.paused};" if step.paused else ""
    return one_line(
        f"step {step.number}/{step.steps} {step.kind} at {step.weight} %:{paused} {_seen(step.candidate)}, {against}, "
        f"ends within {_clock(step.left)}"
    )


def _against(one: Evidence) -> Text:
    together = ", production too" if one.shared else ""
    return Text(
        f"  {_bar(one.share)} {one.log_e:.1f} of {one.needed:.1f} against: {NAMES[one.limit]}, {one.bad} of "
        f"{one.judged}{together}",
        "red" if one.share >= 0.5 and not one.shared else "",
    )


def _seen(seen: Seen, of: str = " requests") -> str:
    p95 = "no p95" if seen.p95_seconds is None else f"p95 {1000 * seen.p95_seconds:.0f} ms"
    return f"{seen.requests:,}{of}, {seen.failed:,} failed, {p95}"


def _bar(share: float) -> str:
    full = round(min(max(share, 0.0), 1.0) * BAR)
    return f"[{'#' * full}{'.' * (BAR - full)}]"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60}:{whole % 60:02d} min"
