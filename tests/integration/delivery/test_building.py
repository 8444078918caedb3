"""An image that is built again is the same, or nothing is done and somebody is told why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.delivery import image_build
from banana_delivery.delivery.image_build import rebuild
from banana_delivery.images.base import ImageError
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.model import Outcome
from tests.support.pipeline import World

BETTER = 0.95


@pytest.fixture
def replaced(world: World) -> Iterator[tuple[World, str]]:
    """A world whose first release was replaced by a better one, and that first version."""
    first = world.serving
    assert first is not None
    world.run(world.stage(BETTER))
    yield world, first


def lose_images(world: World, *, rebuild_missing: bool) -> FakeImages:
    images = FakeImages()
    settings = world.services.settings.model_copy(update={"rebuild_missing": rebuild_missing})
    world.change(images=images, settings=settings)
    return images


def change_the_serving_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("VALUE = 2\n")
    monkeypatch.setattr(image_build, "SERVING_CODE", tmp_path)


def test_a_redeploy_whose_image_is_gone_ends_as_an_error_that_says_what_to_do(replaced: tuple[World, str]) -> None:
    world, first = replaced
    lose_images(world, rebuild_missing=False)
    world.run(first)
    ended = world.attempts(first)[0]
    assert ended.outcome is Outcome.ERROR
    assert "BANANA_REBUILD_MISSING=true" in ended.reason
    assert world.serving != first


def test_it_is_built_again_from_the_same_if_that_is_allowed(replaced: tuple[World, str]) -> None:
    world, first = replaced
    lose_images(world, rebuild_missing=True)
    world.run(first)
    assert world.attempts(first)[0].outcome is Outcome.RELEASED
    assert world.serving == first


def test_it_is_not_built_from_anything_else(
    replaced: tuple[World, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world, first = replaced
    images = lose_images(world, rebuild_missing=True)
    change_the_serving_code(monkeypatch, tmp_path)
    world.run(first)
    ended = world.attempts(first)[0]
    assert ended.outcome is Outcome.ERROR
    assert "publish the model as a new version" in ended.reason
    assert images.resolve(first) is None, "something else got the version's tag"


def test_building_once_more_reports_parity_or_what_differs(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert world.serving is not None
    assert rebuild(world.instance, world.services, world.serving, print).proven
    change_the_serving_code(monkeypatch, tmp_path)
    (difference,) = rebuild(world.instance, world.services, world.serving, print).differences[:1]
    assert difference.startswith("layer code was ")


def test_a_version_that_was_never_built_cannot_be_built_again(world: World) -> None:
    with pytest.raises(ImageError, match="Version 99 has no image yet; deliver it as a whole"):
        rebuild(world.instance, world.services, "99", print)
