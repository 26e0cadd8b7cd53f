"""The README's client example, from a virtual environment that has the client alone, against `samespace serve` on the demo's home.

    python -m bench.client_only [--home ./demo] [--environment .venv-client]

Also how long importing the client takes there, and that nothing heavy is installed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import venv
from pathlib import Path

from bench.report import header
from bench.served import served

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "mlflow", "sqlalchemy", "flask", "faiss-cpu", "pylance", "scikit-learn", "click"}


def example() -> str:
    """The README's lines."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if 'connect("http://' in block]
    return found


def environment(folder: Path) -> Path:
    """The Python of an environment with the client alone."""
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--constraint",
        "constraints.txt",
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    if names & HEAVY:
        raise SystemExit(f"the client's environment holds {', '.join(sorted(names & HEAVY))}")
    print(f"installed: {', '.join(sorted(names - {'pip', 'setuptools'}))}")
    return python


def main() -> None:
    """Install, serve, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path("demo"))
    parser.add_argument("--environment", type=Path, default=Path(".venv-client"))
    given = parser.parse_args()
    if not (given.home / "registry.db").exists():
        raise SystemExit(f"there is no registry at {given.home}: run 'make demo SERVE=0' first")
    print(header(seed="none"))
    python = environment(given.environment)
    best = min(
        float(
            subprocess.run(
                [python, "-c", "import time; s = time.perf_counter(); from registry import connect; connect('http://x:1'); print(time.perf_counter() - s)"],
                cwd="/", capture_output=True, text=True, check=True,
            ).stdout
        )
        for _ in range(5)
    )  # fmt: skip
    print(f"importing the client and making one: {best:.2f} s at best of five")
    with served(given.home.resolve()) as (url, _):
        code = example().replace("http://127.0.0.1:8321", url)
        done = subprocess.run([python, "-c", code], cwd="/", check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
