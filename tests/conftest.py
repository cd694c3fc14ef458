"""What the test run prints at its end: measured coverage and worst cases of the laws."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "summary":
                terminalreporter.write_line("")
                terminalreporter.write_line(value)
