"""All benchmarks one after another, and one table of the figures that the project promises.

Exit status 1 if a script failed; a figure that misses its target is no failure, it is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import Figure, print_figures, print_losses

SCRIPTS = (
    "read",
    "batch",
    "labels",
    "open",
    "index",
    "sequential",
    "dataset",
    "returnn",
    "torch",
    "loader",
    "packed",
    "audio",
    "automata",
    "full_sum",
    "write",
    "combine",
    "convert",
    "small_entries",
    "error_signals",
    "extern",
    "segmentation",
    "align",
)


def run_script(script: str, args: argparse.Namespace, output: Path) -> dict[str, Any] | None:
    command = [sys.executable, str(Path(__file__).with_name(f"bench_{script}.py"))]
    command += ["--json", str(output), "--seed", str(args.seed)]
    if args.quick:
        command.append("--quick")
    if args.dir is not None:
        command += ["--dir", str(args.dir)]
    if args.rounds:
        command += ["--rounds", str(args.rounds)]
    if script == "open" and not args.quick:
        command.append("--full")
    done = subprocess.run(command)
    if done.returncode:
        print(f"bench_{script}: failed with exit status {done.returncode}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(output.read_text())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small data, few rounds: a smoke test")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all results here")
    parser.add_argument("--dir", type=Path, help="make the data below this folder")
    parser.add_argument("--rounds", type=int, help="timed rounds of every script")
    parser.add_argument("--seed", type=int, default=20241123)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, help="not all")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    failed = []
    with tempfile.TemporaryDirectory(prefix="sprintcache-bench-") as folder:
        for script in args.only:
            result = run_script(script, args, Path(folder) / f"{script}.json")
            if result is None:
                failed.append(script)
            else:
                results[script] = result
    figures = [Figure(**f) for result in results.values() for f in result["figures"]]
    print(
        "== all figures"
        + (", quick: small data, the figures carry no weight" if args.quick else "")
    )
    if figures:
        print_figures(figures, args.quick)
    print_losses([line for result in results.values() for line in result["losses"]])
    if args.json is not None:
        args.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
