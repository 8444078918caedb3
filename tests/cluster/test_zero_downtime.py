"""No user loses a request: through every shift, swap, rollback, scale-down and rolling restart of healthy releases."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from banana_delivery.policy.model import Colour, ImageRef
from banana_delivery.targets.kubernetes.routing import digest_at
from tests.cluster.cluster import PRODUCTION, Production, Routed
from tests.cluster.load import SHARES, Users

BLUE, GREEN = Colour.BLUE, Colour.GREEN
REQUESTS = 3000


def test_three_kinds_of_users_notice_nothing_of_a_release_and_of_all_that_follows(
    routed: Routed, releases: dict[str, ImageRef], measured: list[str]
) -> None:
    production = Production(routed.target)
    production.first_release(releases["1"], replicas=2)
    with Users(routed.target.url(PRODUCTION)) as users:
        _release(production, users, GREEN, releases["2"])
        routed.cluster.kubectl("rollout", "restart", "deployment/banana-api-green", "-n", "production")
        routed.cluster.kubectl("rollout", "status", "deployment/banana-api-green", "-n", "production", "--timeout=120s")
        _roll_back(production, users, BLUE, releases["3"])
        users.more(max(100, REQUESTS - len(users.answers)))
    measured.append(users.summary())

    assert users.failures == []
    kinds = Counter(answer.kind for answer in users.answers)
    assert kinds.total() >= REQUESTS and min(kinds[kind] for kind in SHARES) >= REQUESTS / 10
    assert users.seconds and len(users.answers) / users.seconds >= 30
    assert {"blue", "green"} == {answer.colour for answer in users.answers}


def test_a_colour_that_is_ready_answers_at_once_and_only_with_its_digest(
    routed: Routed, releases: dict[str, ImageRef]
) -> None:
    production = Production(routed.target)
    for version in ("1", "2"):
        production.deploy(GREEN, releases[version])
        answers = {digest_at(routed.target.probe_url(PRODUCTION, GREEN)) for _ in range(30)}
        assert answers == {releases[version].digest}


def _release(production: Production, users: Users, candidate: Colour, image: ImageRef) -> None:
    """A/B, back, up, all the steps, promotion, and the end of the old colour."""
    production.deploy(candidate, image, 1)
    for share in (10, 0):
        production.weigh(candidate, share)
        users.more(100)
    production.scale(candidate, 2)
    for share in (20, 40, 60, 80, 100):
        production.weigh(candidate, share)
        users.more(150)
    production.promote(candidate)
    production.target.scale(production.claim, candidate.other, 0)
    users.more(200)


def _roll_back(production: Production, users: Users, candidate: Colour, image: ImageRef) -> None:
    """A release that is taken back at 60 %."""
    production.deploy(candidate, image, 2)
    for share in (20, 60, 0):
        production.weigh(candidate, share)
        users.more(150)
    production.target.scale(production.claim, candidate, 0)
    users.more(200)


def test_the_way_back_takes_less_than_two_seconds(
    routed: Routed, releases: dict[str, ImageRef], measured: list[str]
) -> None:
    """Without a router nobody can move a connection that is open: there it holds for new ones, and the others stay."""
    production = Production(routed.target)
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"])
    with Users(routed.target.url(PRODUCTION)) as users:
        production.weigh(GREEN, 60)
        users.more(200)
        verdict = time.monotonic()
        production.weigh(GREEN, 0)
        users.more(200)
    moved = ("new", "slow", "kept") if routed.way == "gateway" else ("new", "slow")
    last = users.last_on("green", moved) - verdict
    measured.append(f"{last:.2f} s from the verdict to the last request ({', '.join(moved)}) sent to the bad colour")

    assert users.failures == []
    assert last < 2


def test_after_promotion_the_old_colour_takes_over_at_once_while_it_is_warm_and_after_a_start_when_not(
    routed: Routed, releases: dict[str, ImageRef], measured: list[str]
) -> None:
    production = Production(routed.target)
    production.first_release(releases["1"])
    production.deploy(GREEN, releases["2"])
    production.weigh(GREEN, 100)
    production.promote(GREEN)
    with Users(routed.target.url(PRODUCTION)) as users:
        warm = _seconds(lambda: production.weigh(BLUE, 100))
        production.promote(BLUE)
        production.target.scale(production.claim, GREEN, 0)
        users.more(150)
        cold = _seconds(lambda: _start(production))
        users.more(150)
    measured.append(f"back to the old colour: {warm:.2f} s while warm, {cold:.2f} s from cold; {users.summary()}")

    assert users.failures == []
    assert warm < 2 if routed.way == "gateway" else warm < 5, "kube-proxy is given a second to follow"
    assert production.target.observed(PRODUCTION).weights == {BLUE: 0, GREEN: 100}


def _seconds(move: Callable[[], object]) -> float:
    start = time.monotonic()
    move()
    return time.monotonic() - start


def _start(production: Production) -> None:
    """Green from nothing to all users."""
    production.scale(GREEN, 1)
    production.weigh(GREEN, 100)
