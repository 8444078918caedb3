from __future__ import annotations

import json

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.selftest import read_result
from banana_delivery.policy.model import ImageRef

REF = ImageRef(repository="r", digest="sha256:" + "a" * 64, version="7", key="k")
GOOD = {"ok": True, "digest": REF.digest, "model_version": "7"}


def test_the_last_line_is_the_report_whatever_was_logged_before() -> None:
    assert read_result(REF, 0, "warming up\n" + json.dumps(GOOD) + "\n", "a warning") == GOOD


@pytest.mark.parametrize(
    ("exit_code", "output", "errors", "reason"),
    [
        (1, json.dumps({"ok": False, "error": "The model is empty."}), "", "The model is empty."),
        (0, json.dumps({**GOOD, "model_version": "6"}), "", "model_version is '6', not '7'"),
        (0, json.dumps({**GOOD, "digest": "unknown"}), "", "digest is 'unknown'"),
        (137, "", "", "exit code 137: it said nothing"),
        (1, "", "Traceback\nImportError: numpy", "ImportError: numpy"),
        (0, "not json", "", "not json"),
    ],
)
def test_anything_but_a_pass_about_this_very_image_is_a_failure_with_its_reason(
    exit_code: int, output: str, errors: str, reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        read_result(REF, exit_code, output, errors)
