"""The settings file of a home: what ``up`` was started with, for commands in other shells. Variables win over it.

Only the command line reads it. The stack's processes are given each the variables that it needs, and what an operator
runs elsewhere is told by variables alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from banana_delivery.delivery.upkeep.variables import unknown_variables
from banana_delivery.embedded.processes import settings_environment, variable
from banana_delivery.errors import BadSettingsError, redacted
from banana_delivery.files import write_atomically
from banana_delivery.quoting import cited
from banana_delivery.setting_errors import PREFIX, is_secret
from banana_delivery.settings import Settings, default_home, load_settings

NAME = "settings.env"
HOME = variable("home")
STEERING = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "KUBECONFIG", "DOCKER_HOST")
"""Variables of other programs without which a command in another shell would ask somebody else than the stack does."""
LARGEST_BYTES = 1_000_000
BEGINNING = """\
# Settings of this home. Each banana-delivery command in it reads them; a variable of the same name wins, if empty too.
# `banana-delivery up` adds what it was started with, and never a secret: write those here yourself if commands in other
# shells need them, as NAME='value'. After a change: banana-delivery down, then up.
"""


@dataclass(frozen=True)
class Line:
    """A setting in the file.

    Attributes:
        value: as text.
        number: of its line, from 1.
    """

    value: str
    number: int


@dataclass(frozen=True)
class SettingsFile:
    """The settings of one home, as they stand in its file.

    Attributes:
        path: where the file is, or would be.
        lines: by variable.
        used: those of them that no variable took the place of.
    """

    path: Path
    lines: Mapping[str, Line] = field(default_factory=dict)
    used: Mapping[str, Line] = field(default_factory=dict)

    @classmethod
    def of_home(cls, environment: Mapping[str, str]) -> SettingsFile:
        """The file of the home that these variables name; without a line if it is not there.

        Raises:
            BadSettingsError: if something in it cannot be read.
            OSError: if it cannot be opened.
        """
        try:
            home = Path(environment.get(HOME) or default_home()).expanduser().resolve()
        except RuntimeError:  # A home of nobody's; the settings say so.
            return cls(Path(NAME))
        path = home / NAME
        lines = dict(_lines(path))
        used = {name: line for name, line in lines.items() if name not in environment}
        return cls(path, lines, used)

    def apply(self, environment: MutableMapping[str, str]) -> Callable[[], None]:
        """Put what no variable says beside the variables, and return what takes it away again.

        Raises:
            BadSettingsError: if a value cannot be used, with its line.
        """
        before = {name: environment.get(name) for name in self.used}
        environment.update({name: line.value for name, line in self.used.items()})

        def undo() -> None:
            for name, value in before.items():
                if value is None:
                    environment.pop(name, None)
                else:
                    environment[name] = value

        try:
            if self.used:
                load_settings()
        except BadSettingsError as error:
            undo()
            line = self.used.get(str(error).partition(" ")[0])
            raise BadSettingsError(f"{self._at(line)}{error}") from None
        return undo

    def strangers(self) -> list[str]:
        """A sentence for each line that nothing reads."""
        ours = {name: line.value for name, line in self.lines.items() if name.upper().startswith(PREFIX)}
        told = {sentence.partition(" ")[0]: sentence for sentence in unknown_variables(ours)}
        others = self.lines.keys() - ours.keys() - set(STEERING)
        told |= {name: f"{cited(name)} is no setting, so that it changes nothing" for name in sorted(others)}
        return [f"{self._at(self.lines[name])}{sentence}" for name, sentence in told.items()]

    def origin(self, name: str) -> str:
        """Where a variable's value is from, if it is set: ``file`` or ``variable``."""
        return "file" if name in self.used else "variable"

    def remember(self, settings: Settings, environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Add what variables said, but no secret.

        Args:
            settings: in force; what is written is their form of a value, such as a whole path.
            environment: in which variables are set.

        Returns:
            The variables that were written, and those that another shell will lack because they are secret.

        Raises:
            OSError: if it cannot be written.
        """
        # An empty one says something only where the file says otherwise: it takes that back.
        said = {name for name in environment if environment[name] or name in self.lines} - {*self.used, HOME}
        in_force = settings_environment(settings)
        hidden = {variable(name) for name, about in Settings.model_fields.items() if is_secret(about)}
        wanted = {name: in_force.get(name, environment[name]) for name in sorted(said & {*in_force, *STEERING})}
        secret = [name for name, value in wanted.items() if name in hidden or redacted(value) != value]
        new = {name: value for name, value in wanted.items() if name not in secret and self._says(name) != value}
        if new:
            write_atomically(self.path, _with(_text(self.path) or BEGINNING, new))
        return list(new), [name for name in secret if name not in self.lines]

    def _says(self, name: str) -> str | None:
        line = self.lines.get(name)
        return line.value if line else None

    def _at(self, line: Line | None) -> str:
        return f"{self.path}, line {line.number}: " if line else ""


def _text(path: Path) -> str:
    """What the file holds; nothing if it is not there.

    Raises:
        BadSettingsError: if it is no text.
        OSError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        text = content.decode()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise BadSettingsError(f"{path} is no text in UTF-8; write it as NAME='value', one a line.") from None
    if len(content) > LARGEST_BYTES or "\0" in text:
        raise BadSettingsError(f"{path} is no file of settings; write it as NAME='value', one a line.")
    return text


def _lines(path: Path) -> Iterator[tuple[str, Line]]:
    seen: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(_text(path))):
        number = _number(binding)
        if binding.error or (binding.key is not None and binding.value is None):
            raise BadSettingsError(f"{path}, line {number} is no setting; write it as NAME='value'.")
        if binding.key is None or binding.value is None:
            continue
        if binding.key == HOME:
            raise BadSettingsError(f"{path}, line {number}: {HOME} says where this file is; set it as a variable.")
        if binding.key in seen:
            raise BadSettingsError(
                f"{path}, line {number}: {cited(binding.key)} stands in line {seen[binding.key]} already; remove one."
            )
        seen[binding.key] = number
        yield binding.key, Line(binding.value, number)


def _number(binding: Binding) -> int:
    """The line of what is said; the parser counts empty lines before it to it."""
    string = binding.original.string
    return int(binding.original.line) + string[: len(string) - len(string.lstrip())].count("\n")


def _with(text: str, new: Mapping[str, str]) -> str:
    """The file's text with some settings added or replaced; everything else stays as it was written."""
    left, parts = dict(new), []
    for binding in parse_stream(io.StringIO(text)):
        string = binding.original.string
        if binding.key in left:
            string = string[: len(string) - len(string.lstrip())] + _written(binding.key, left.pop(binding.key))
        parts.append(string)
    before = "".join(parts)
    between = "" if before.endswith("\n") else "\n"
    return before + between + "".join(_written(name, value) for name, value in left.items())


def _written(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{escaped}'\n"
