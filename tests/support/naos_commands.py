"""The command `naos` before the real API of a platform, in process."""

import json
import time
from typing import Any

from simulated_platform import Platform
from typer.testing import CliRunner, Result

from naos.cli.client import Connection
from naos.cli.main import app


class Commands:
    """Of the owner of the only tenant. before: words that every command begins with."""

    def __init__(self, platform: Platform, *before: str) -> None:
        self.platform = platform
        self._before = before

    def run(self, *words: str, code: int = 0) -> str:
        """All that it prints."""
        return str(self._invoked(words, code).output)

    def json(self, *words: str) -> Any:
        printed = self._invoked((*words, "--json"), 0).stdout.splitlines()
        return json.loads(
            "\n".join(line for line in printed if not line.startswith("20"))
        )  # without the controller's log

    def _invoked(self, words: tuple[str, ...], code: int) -> Result:
        connection = Connection(
            credentials=self.platform.folder / "credentials",
            transport=self.platform.client._transport,
            sleep=lambda seconds: time.sleep(min(seconds, 0.02)),
        )
        environment = {"NAOS_CREDENTIALS": None, "COLUMNS": "300"}
        outcome = CliRunner().invoke(app, [*self._before, *words], obj=connection, env=environment)
        assert outcome.exit_code == code, (words, outcome.output, outcome.exception)
        return outcome
