"""What stands below each command's help: an example, how its exit code is read, and what programs get."""

from __future__ import annotations

from banana_delivery.policy.outcomes import exit_codes

EXAMPLES = {
    "up": "up --dry-run",
    "down": "down",
    "demo": "demo --summary figures.json",
    "register-webhook": "register-webhook https://hooks.example.com",
    "status": "status --watch",
    "settings": "settings --json",
    "doctor": "doctor --json",
    "notify-test": "notify-test",
    "deliver": "deliver 7 --server https://dagster.example.com",
    "redeploy": "redeploy 3 5",
    "rollback": "rollback 7 --reason 'Leaves without a banana are boxed.'",
    "approve": "approve 7 --reason 'I looked at the report.'",
    "override": "override 7 --reason 'The fault was the node, which is gone.'",
    "withdraw": "withdraw 7 --reason 'The rare class looks worse than I thought.'",
    "adopt-records": "adopt-records --dry-run",
    "freeze": "freeze --reason 'The harvest begins.' --until 4h",
    "unfreeze": "unfreeze --reason 'It is over.'",
    "pause": "pause --reason 'I look at the pictures first.'",
    "resume": "resume production --reason 'They are fine.'",
    "abort": "abort 7 --reason 'The wrong one was staged.'",
    "restore": "restore --environment production --dry-run",
    "prune": "prune --delete",
    "rebuild": "rebuild 7",
    "assemble-runtime": "assemble-runtime --platform linux/amd64 --platform linux/arm64",
    "check": "check best.pt --holdout data.yaml --beside production.pt",
    "holdout": "holdout check data.yaml#test",
    "scorecard": "scorecard --since 30d",
    "policy": "policy check mine.yaml",
    "backtest": "backtest --policy mine.yaml --last 50",
}
"""By command; each begins behind the program's name."""
WAIT = frozenset({"deliver", "redeploy", "approve", "check"})
"""They end as the delivery did, or would."""


def help_below(command: str) -> str:
    """What stands below a command's help."""
    example = f"Example: `banana-delivery {EXAMPLES[command]}`"
    return f"{example} {exit_codes()}" if command in WAIT else example
