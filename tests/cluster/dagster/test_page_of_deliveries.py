"""The page of deliveries on a cluster: a link in a notice leads to what waits, and whoever may decides there, once."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx
import pytest
import yaml

from banana_delivery.policy.model import Outcome
from tests import ROOT
from tests.cluster.cluster import until
from tests.cluster.dagster.conftest import HOLDOUT_IMAGES
from tests.cluster.dagster.installation import DELIVERY_SECONDS, START_SECONDS, Installation
from tests.cluster.dagster.overlay import NAMESPACE

pytestmark = pytest.mark.long
ADA = "ada@example.com"
HOME = "/var/lib/banana-delivery"
KEY, LOGIN = "banana-delivery-page", "dagster-pages"
KEY_SECONDS = 180.0
"""Until a kubelet has put a Secret into a pod that runs."""
LINK = re.compile(r"http://\S+?/delivery\?asks=[\w-]+")
REPORT = re.compile(r"http://\S+?/reports/\S+?-[a-z_]+")


@dataclass(frozen=True)
class Browser:
    """Of somebody whom the proxy before the pages names, which on a port that is forwarded comes from within the pod.

    Attributes:
        pages: address of the pages.
        person: as the proxy has it.
    """

    pages: str
    person: str

    def get(self, address: str) -> httpx.Response:
        """Open something; what was left out of an address is the pages' own."""
        url = address if address.startswith("http") else f"{self.pages}{address}"
        return httpx.get(url, headers={"X-Forwarded-User": self.person}, timeout=60, trust_env=False)

    def told(self, address: str) -> dict[str, Any]:
        """What a path of the page says."""
        answer = self.get(address)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def decides(self, **facts: str) -> dict[str, Any]:
        """Press a button of the page; returns what became of it."""
        beat, token = self.told("/delivery/now")["beat"], self.told("/delivery/who")["token"]
        asked = {"reason": "I looked at it.", "beat": beat, "token": token, **facts}
        headers = {"X-Forwarded-User": self.person, "Origin": self.pages, "Sec-Fetch-Site": "same-origin"}
        return dict(
            httpx.post(f"{self.pages}/delivery/decide", json=asked, headers=headers, timeout=60, trust_env=False).json()
        )


@pytest.fixture
def asking(installation: Installation) -> Iterator[Installation]:
    """Pages behind a proxy that names people, of whom one decides; no version passes by so few labelled images."""
    before, token = installation.overlay, secrets.token_hex(16)
    policy = yaml.safe_load((ROOT / "banana_delivery/policies/demo.yaml").read_text())
    file = before.home / "policy.yaml"
    file.write_text(yaml.safe_dump({**policy, "name": "more", "quality": {"least_images": HOLDOUT_IMAGES + 1}}))
    settings = {
        **before.settings,
        "BANANA_POLICY": f"{HOME}/{file.name}",
        "BANANA_PAGES_LOGIN_HEADER": "X-Forwarded-User",
        "BANANA_PAGES_PROXIES": json.dumps(["127.0.0.1/32"]),
        "BANANA_PAGES_DECIDERS": json.dumps([ADA]),
    }
    make_secret(installation, LOGIN, {"BANANA_PAGES_TOKEN": token})
    with_login = replace(installation, token=token)
    begin_anew(with_login, replace(before, settings=settings).write(installation.folder))
    try:
        yield with_login
    finally:
        for name in (LOGIN, KEY):
            installation.cluster.kubectl("delete", "secret", name, "-n", NAMESPACE, "--ignore-not-found")
        begin_anew(installation, before.write(installation.folder))
        file.unlink()


def make_secret(installation: Installation, name: str, data: Mapping[str, str]) -> None:
    literals = [f"--from-literal={key}={value}" for key, value in data.items()]
    installation.cluster.kubectl("create", "secret", "generic", name, "-n", NAMESPACE, *literals)


def begin_anew(installation: Installation, folder: object) -> None:
    """Code server and pages with other settings."""
    installation.cluster.kubectl("apply", "-k", str(folder))
    for name in ("dagster-webserver", "dagster-code-server"):
        installation.cluster.kubectl("rollout", "restart", f"deploy/{name}", "-n", NAMESPACE)
    for name in ("dagster-webserver", "dagster-code-server"):
        until(partial(is_rolled_out, installation, name), name, START_SECONDS)
    until(installation.answers, "the pages", START_SECONDS)


def is_rolled_out(installation: Installation, name: str) -> bool:
    wait = ("rollout", "status", f"deploy/{name}", "-n", NAMESPACE, "--timeout=60s")
    return "successfully" in installation.cluster.kubectl(*wait, check=False)


def test_a_link_in_a_notice_leads_to_the_report_and_to_one_decision(asking: Installation, measured: list[str]) -> None:
    ada, eve = Browser(asking.pages, ADA), Browser(asking.pages, "eve@example.com")
    # Without the Secret the page says what is missing.
    lack = ada.told("/delivery/who")
    assert not lack["may"] and "There is no /run/page/keys, which BANANA_PAGES_KEY_FILE names" in lack["said"]
    make_secret(asking, KEY, {"keys": secrets.token_hex(32)})

    if asking.production.live is None:
        first = asking.publish()
        asking.ends(asking.launch(first), first, Outcome.RELEASED)
    version = asking.publish()
    run_id = asking.launch(version)
    parked = asking.ends(run_id, version, Outcome.PARKED)
    ((_, text),) = asking.notices.about(run_id)
    (link,) = LINK.findall(text)
    (report,) = set(REPORT.findall(text))

    assert f"/reports/{version}/" in report
    shown = ada.get(report)
    assert (shown.status_code, shown.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert f"ersion {version}" in shown.text and "parked" in shown.text.lower()

    until(lambda: ada.told("/delivery/who")["may"], "the key in the pod of the pages", KEY_SECONDS)
    assert "<title>" in ada.get(link).text
    invited = "/delivery/invited?" + link.partition("?")[2]
    about = ada.told(invited)
    assert (about["said"], about["version"], about["digest"]) == ("", version, parked.digest)
    assert not eve.told("/delivery/who")["may"]
    # Opening it was no decision, and who may not decide decides nothing by it.
    assert "You may not decide here" in eve.decides(act="approve", version=version, digest=parked.digest)["said"]
    assert asking.client.attempt(run_id, version) == parked and asking.is_idle()

    done = ada.decides(act="approve", version=version, digest=parked.digest)
    assert done["done"], done
    until(lambda: asking.serves(version), f"version {version} in production", DELIVERY_SECONDS)
    until(asking.is_idle, "a free slot")
    assert "waits no more" in ada.told(invited)["said"]
    again = ada.decides(act="approve", version=version, digest=parked.digest)
    assert not again["done"], again
    assert asking.is_idle()
    measured.append(f"{parked.reason} Then: {done['said']}")
