"""How good plans are: what `ssft plan` says of a run, beside what the run then takes.

    python benchmarks/plan.py RECIPE [--repeats 3] [--override --data.root DIR ...]

Plan and run alternate, each in a process of its own, and a row is printed for each two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_TRAIN = """
import sys, time
from pathlib import Path
from ssft.engine.rehearsal import peak_memory
from ssft.recipe import load_recipe
from ssft.run_export import export
from ssft.runs import start
recipe, began = load_recipe(sys.argv[1]), time.perf_counter()
start(recipe, Path("run"))
print("\\n", time.perf_counter() - began, peak_memory())
export(Path("run"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipe")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--override", nargs=argparse.REMAINDER, default=[], help="settings of the recipe, --key value")
    options = parser.parse_args()
    print(
        "| planned s | range | run s | planned memory | run | checkpoint + model | run |\n|---|---|---|---|---|---|---|"
    )
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            plan = json.loads(run(folder, "-m", "ssft", "plan", options.recipe, "--json", *options.override))
            *_, line = run(folder, "-c", _TRAIN, plan["file"]).strip().splitlines()
            seconds, memory = map(float, line.split())
            checkpoint = next(Path(folder, "run", "checkpoints").glob("step-*"))
            disk = [
                sum(file.stat().st_size for file in path.iterdir())
                for path in (checkpoint, Path(folder, "run/adapted"))
            ]
        time, space = plan["time"], plan["space"]
        low, high = (60 * minutes for minutes in time["minutes_range"])
        own = space["memory"] - space["memory_of_readers"]
        print(
            f"| {60 * time['minutes']:.0f} | {low:.0f} to {high:.0f} | {seconds:.0f} | {own / 1e6:,.0f} MB "
            f"| {memory / 1e6:,.0f} MB | {space['checkpoint'] / 1e6:.2f} + {space['adapted'] / 1e6:.2f} MB "
            f"| {' + '.join(f'{size / 1e6:.2f}' for size in disk)} MB |",
            flush=True,
        )


def run(folder: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main()
