"""Run every benchmark of RESULTS.md in turn: `python -m bench`, or some of them: `python -m bench search retrieval`."""

import subprocess
import sys

BENCHMARKS = ("retrieval", "fit_orthogonal", "search", "cka", "relative", "apply_one", "train_step", "oca_digits")


def main() -> None:
    """Each in a process of its own, so that none inherits another's memory or threads."""
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"\n## python -m bench.{name}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"bench.{name}"], check=True)


if __name__ == "__main__":
    main()
