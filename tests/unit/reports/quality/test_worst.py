from banana_delivery.policy.model import Outcome
from banana_delivery.reports.html import html_report
from banana_delivery.reports.plots import Plots
from banana_delivery.reports.quality.worst import worst_images
from tests.unit.reports import scenes


def test_each_author_has_a_line_of_its_own_and_errors_are_thick() -> None:
    comparison = scenes.comparison(7.0)
    page = "".join(worst_images(scenes.worst(comparison), comparison, "sha256:h"))
    for author in ("label", "production", "candidate"):
        assert f'<path class="{author}"' in page
    assert '<path class="candidate wrong"' in page
    assert page.count("<image href=") == page.count('role="img"') == page.count("<figcaption>") == 6


def test_a_strangers_names_and_a_picture_that_is_gone_are_words() -> None:
    comparison = scenes.comparison(7.0)
    worst = scenes.worst(comparison)
    one = worst.images[0].replace(jpeg="", trouble="<b>gone</b> & away.")
    page = "".join(worst_images(worst.replace(images=(one,)), comparison, "sha256:h"))
    assert "<image" not in page
    assert "&lt;b&gt;gone&lt;/b&gt; &amp; away." in page


def test_pictures_of_another_comparison_are_not_shown() -> None:
    comparison = scenes.comparison(7.0)
    assert list(worst_images(scenes.worst(comparison), comparison, "sha256:other")) == []
    trouble = scenes.worst(comparison).replace(images=(), trouble="The pictures cannot be shown.")
    assert list(worst_images(trouble, comparison, "sha256:h")) == ["<p>The pictures cannot be shown.</p>"]


def test_they_stand_in_the_report_before_the_table() -> None:
    quality = scenes.quality(7.0).replace(holdout="sha256:h")
    attempt = scenes.attempt(scenes.promoted_steps(), Outcome.RELEASED, "Healthy.")
    page = html_report(
        attempt,
        budget_seconds=1.0,
        plots=Plots(),
        ab=scenes.ab(quality),
        worst=scenes.worst(scenes.comparison(7.0)),
    )
    assert page.index("Images on which they differ most") < page.index('<div class="worst">') < page.index(">better<")
