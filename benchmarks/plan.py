"""How good plans are: what `ssft plan` says of a run, beside what the run then takes.

    python benchmarks/plan.py RECIPE [--repeats 3] [--override --data.root DIR ...]

Plan and run alternate, each in a process of its own, and a row is printed for each two. The minutes depend on what else
the machine does meanwhile, the seconds of its processors hardly. Memory is that of the process that trains.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_TRAIN = """
import json, resource, sys, time
from pathlib import Path
from ssft.engine.rehearsal import peak_memory
from ssft.recipe import load_recipe
from ssft.run_export import export
from ssft.runs import start
recipe = load_recipe(sys.argv[1])
recipe.check()  # imports what a plan's clock does not count either
wall, cpu = time.perf_counter(), time.process_time()
start(recipe, Path("run"))
readers = resource.getrusage(resource.RUSAGE_CHILDREN)
facts = {
    "seconds": time.perf_counter() - wall,
    "processors": time.process_time() - cpu + readers.ru_utime + readers.ru_stime,
    "memory": peak_memory(),
}
export(Path("run"))
print("\\n" + json.dumps(facts))
"""
_COLUMNS = (
    *("seconds", "range", "run", "processor seconds", "run", "memory MB", "run"),
    *("checkpoint MB", "run", "model MB", "run"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("recipe")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--override", nargs=argparse.REMAINDER, default=[], help="settings of the recipe, --key value")
    options = parser.parse_args()
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}")
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            plan = json.loads(run(folder, "-m", "ssft", "plan", options.recipe, "--json", *options.override))
            real = json.loads(run(folder, "-c", _TRAIN, plan["file"]).splitlines()[-1])
            checkpoint = next(Path(folder, "run", "checkpoints").glob("step-*"))
            written = [megabytes(path) for path in (checkpoint, Path(folder, "run", "adapted"))]
        time, space = plan["time"], plan["space"]
        low, high = (60 * minutes for minutes in time["minutes_range"])
        cells = [
            *(f"{60 * time['minutes']:.0f}", f"{low:.0f} to {high:.0f}", f"{real['seconds']:.0f}"),
            *(f"{60 * time['processor_minutes']:.0f}", f"{real['processors']:.0f}"),
            *(f"{(space['memory'] - space['memory_of_readers']) / 1e6:,.0f}", f"{real['memory'] / 1e6:,.0f}"),
            *(f"{space['checkpoint'] / 1e6:.2f}", f"{written[0]:.2f}"),
            *(f"{space['adapted'] / 1e6:.2f}", f"{written[1]:.2f}"),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def run(folder: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


if __name__ == "__main__":
    main()
