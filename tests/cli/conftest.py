"""The command line in a process of its own, as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMESPACE = [sys.executable, "-c", "from registry.cli import main; main()"]


@pytest.fixture(scope="session")
def samespace():
    """Call `samespace ARGUMENTS…`; the exit code must be `code`."""

    def run(*arguments, code=0, cwd=None):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "140"}
        env.pop("SAMESPACE_HOME", None)
        done = subprocess.run(
            [*SAMESPACE, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=env, timeout=300
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run
