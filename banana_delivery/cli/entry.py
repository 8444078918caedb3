"""All commands, and how the command line ends: what goes wrong is one sentence."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from banana_delivery.cli import deciding, delivering, freezing, judging, looking, rescuing, scoring, stack, upkeep
from banana_delivery.cli.answering.answer import answering, error_document, wants_json
from banana_delivery.cli.answering.examples import help_below
from banana_delivery.cli.common import errors
from banana_delivery.delivery.upkeep.settings_file import SettingsFile
from banana_delivery.delivery.upkeep.variables import unknown_variables
from banana_delivery.errors import BananaDeliveryError
from banana_delivery.quoting import visible
from banana_delivery.settings import load_settings


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"banana-delivery {version('banana-delivery')}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def program(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Takes a YOLO detector from MLflow Staging to all of production's traffic, or safely back."""
    if "--help" in sys.argv[1:]:
        return  # Who asks what there is need not have mended his settings first.
    file = SettingsFile.of_home(os.environ)
    context.obj = file
    context.call_on_close(file.apply(os.environ))
    for sentence in file.strangers():
        _say(sentence, "yellow")


for command in (
    stack.up,
    stack.down,
    stack.demo,
    stack.register_webhook,
    looking.status,
    looking.settings,
    looking.doctor,
    looking.notify_test,
    delivering.deliver,
    delivering.redeploy,
    rescuing.rollback,
    deciding.approve,
    deciding.override,
    deciding.withdraw,
    deciding.adopt_records,
    freezing.freeze,
    freezing.unfreeze,
    rescuing.pause,
    rescuing.resume,
    rescuing.abort,
    rescuing.restore,
    upkeep.prune,
    upkeep.rebuild,
    upkeep.assemble_runtime,
    judging.check,
    judging.holdout,
    scoring.scorecard,
    judging.policy,
    judging.backtest,
):
    name = command.__name__.replace("_", "-")
    app.command(name, epilog=help_below(name))(answering(name, command))


def main() -> None:
    """Run the command line; what goes wrong is one sentence, not a stack trace."""
    for sentence in unknown_variables(os.environ):
        _say(sentence, "yellow")
    as_json = wants_json(sys.argv[1:])
    try:
        # Otherwise a mistake in what was typed would be told to people alone.
        code = app(standalone_mode=False) if as_json else app()
    except BananaDeliveryError as error:
        _end(str(error))
    except typer.Abort:
        _end("Aborted: nobody said yes.", 1)
    except TyperException as error:
        _end(_usage(error))
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        _end(f"{what}{error.strerror or error}; see whether BANANA_HOME ({load_settings().home}) can be used.")
    except Exception as error:  # noqa: BLE001 - a person at night reads a sentence; the trace is kept for the others
        said = (str(error).strip() or "it said nothing").splitlines()[0]
        _end(f"Nobody expected this ({type(error).__name__}): {said}{_kept_trace()}")

    raise SystemExit(code or 0)


def _usage(error: TyperException) -> str:
    """What is wrong with what was typed."""
    return str(getattr(error, "format_message", error.__str__)())


def _end(sentence: str, code: int = 2) -> NoReturn:
    """End with what went wrong: one sentence, or a document where a program asked."""
    if wants_json(sys.argv[1:]):
        typer.echo(error_document(sentence))
    else:
        _say(sentence, "red")
    raise SystemExit(code) from None


def _say(sentence: str, style: str) -> None:
    """Tell people beside what a program may read."""
    lines = map(visible, sentence.split("\n"))
    errors.print("\n".join(lines), style=style, highlight=False, markup=False, soft_wrap=True)


def _kept_trace() -> str:
    """Where the stack trace is; empty if it could not be kept."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile("w", prefix="banana-delivery-", suffix=".trace", delete=False) as file:
            traceback.print_exc(file=file)
            return f"\nFor whoever mends it: {file.name}"
    except OSError:
        return ""
