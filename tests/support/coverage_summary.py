"""What pytest prints of coverage: the total, and the files that tests reach little of."""

from __future__ import annotations

from pathlib import Path

import pytest

LOW = 80
MOST_LINES = 20


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the total, and the files below `LOW` percent, lowest first."""
    controller = getattr(config.pluginmanager.get_plugin("_cov"), "cov_controller", None)
    if controller is None or controller.cov is None:  # run without --cov
        return
    counted = statements = 0
    low: list[tuple[float, str]] = []
    for file in sorted(controller.cov.get_data().measured_files()):
        _, lines, _, missing, _ = controller.cov.analysis2(file)
        statements += len(lines)
        counted += len(lines) - len(missing)
        share = 100 * (1 - len(missing) / len(lines)) if lines else 100.0
        if share < LOW:
            low.append((share, str(Path(file).relative_to(config.rootpath))))
    terminalreporter.section("coverage")
    terminalreporter.line(f"{100 * counted / max(statements, 1):.1f} % of {statements:,} statements")
    for share, name in sorted(low)[:MOST_LINES]:
        terminalreporter.line(f"  {share:.0f} % of {name}")
    if len(low) > MOST_LINES:
        terminalreporter.line(f"  and {len(low) - MOST_LINES} more files below {LOW} %; all of them: coverage report")
