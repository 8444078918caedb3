"""What writes into the registry on a cluster: a login and a key, and no right over what runs."""

from __future__ import annotations

from pathlib import Path

from banana_delivery.publishing.jobs import PUBLISH
from banana_delivery.publishing.order import AT, LOG_FILE
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.jobs.templates import VOLUME
from tests.unit.k8s.dagster_manifests import OBJECTS, SETTINGS, all_pods, referred_to
from tests.unit.k8s.test_export_of_models import POD as EXPORT
from tests.unit.publishing.pod import TEMPLATE

POD = TEMPLATE["template"]["spec"]
(ONLY,) = POD["containers"]
ITS_OWN = {"banana-delivery-publisher", "banana-delivery-signing"}


def test_it_has_an_account_that_may_nothing_and_no_token() -> None:
    bound = [subject["name"] for thing in OBJECTS if thing["kind"] == "RoleBinding" for subject in thing["subjects"]]

    assert (ONLY["name"], POD["automountServiceAccountToken"], POD["enableServiceLinks"]) == (
        PUBLISH.container,
        False,
        False,
    )
    assert POD["serviceAccountName"] not in {"default", *bound}
    assert not {"projected"} & {kind for volume in POD["volumes"] for kind in volume}


def test_the_login_and_the_key_are_with_it_and_with_nobody_else(tmp_path: Path) -> None:
    secrets = {name for kind, name in referred_to(POD) if kind == "Secret"}
    others = {
        name: {what for kind, what in referred_to(pod) if kind == "Secret"} for name, pod in all_pods(tmp_path).items()
    }

    assert secrets == {*ITS_OWN, "registry-pull"}
    assert {name: known & ITS_OWN for name, known in others.items()} == {name: set() for name in others}
    assert not ITS_OWN & {name for kind, name in referred_to(EXPORT) if kind == "Secret"}


def test_it_is_restricted_like_every_other_pod_and_sees_of_the_home_what_it_is_given() -> None:
    assert ONLY["securityContext"] == EXPORT["containers"][0]["securityContext"]
    assert {**EXPORT["securityContext"], "fsGroup": 10001, "fsGroupChangePolicy": "OnRootMismatch"} == POD[
        "securityContext"
    ]
    assert VOLUME in {volume["name"] for volume in POD["volumes"]}
    assert VOLUME not in {mount["name"] for mount in ONLY["volumeMounts"]}
    (home,) = [one["value"] for one in ONLY["env"] if one["name"] == "BANANA_HOME"]
    assert home.startswith("/tmp/"), "the settings of deliveries name one that it does not have"


def test_it_runs_its_program_where_its_order_is_and_leaves_its_words_there() -> None:
    assert ONLY["workingDir"] == AT
    (shell, option, line) = ONLY["command"]
    assert (shell, option) == ("/bin/sh", "-c")
    assert line == f"exec python -P -m banana_delivery.delivery.signing.publisher >{LOG_FILE} 2>&1"


def test_nobody_has_it_without_asking() -> None:
    assert "PUBLISHER" not in (SETTINGS / "settings.env").read_text()
    assert Settings.model_fields["publisher_template"].default == ""
