"""Services that show the metrics of runs, for those who ask for them."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from ssft.errors import RecipeError
from ssft.files import write_atomically

_PROJECT = "ssft"
_KNOWN = "runs.json"


def refuse_missing_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are not installed; imports none of them.

    Raises:
        RecipeError: names those that are missing, and how to install them.
    """
    available = {str(kind) for kind in get_available_trackers()}
    if missing := [name for name in names if name not in available]:
        raise RecipeError(
            f"train.trackers: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed. Use: "
            f"pip install {' '.join(missing)}"
        )


class Trackers:
    """Where metrics go besides metrics.jsonl: accelerate's tensorboard, wandb, trackio and mlflow, if asked for.

    tensorboard and mlflow write into `RUN/tracking`, mlflow unless MLFLOW_TRACKING_URI says otherwise; trackio and
    wandb do what they were set up to do, under the project `ssft`. A tracker that fails, for want of a network or a
    login, is left out from then on: that is said once, and training goes on. A resumed run goes on in the same curves.
    They want accelerate's state, so make `Ranks` before.

    Args:
        names: which; each is imported only if it is named.
        folder: of the run.
        settings: of the recipe, nested; trackers get them flat, as in `train.lr`.
        done: steps that an earlier process has made.
        say: prints a line.

    Raises:
        RecipeError: one of them is not installed.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        folder: Path,
        settings: Mapping[str, Any],
        done: int = 0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        refuse_missing_trackers(names)
        self.folder = folder / "tracking"
        self._say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self._trackers: dict[str, GeneralTracker] = {}
        known = self.folder / _KNOWN
        # What services call this run, so that a resumed one goes on where it was.
        self._known: dict[str, str] = json.loads(known.read_text(encoding="utf-8")) if done and known.exists() else {}
        for name in names:
            self._try(name, partial(self._start, name, settings, done))

    def log(self, record: Mapping[str, Any], *, step: int) -> None:
        """Pass on the numbers of a record."""
        numbers = {_plain(name): value for name, value in record.items() if name != "step" and _is_number(value)}
        for name, tracker in list(self._trackers.items()):
            self._try(name, partial(tracker.log, numbers, step=step))

    def close(self) -> None:
        """Let every tracker finish what it holds back."""
        for name, tracker in list(self._trackers.items()):
            self._try(name, tracker.finish)
        self._trackers.clear()

    def _try(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # whatever a service's client may raise: none of it is worth a run
            self._trackers.pop(name, None)
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self._say(f"warning: {name} failed ({reason[0]}) and gets nothing more; metrics.jsonl has everything")

    def _start(self, name: str, settings: Mapping[str, Any], done: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = _flat(settings)
        tracker = _tracker(name, self.folder, self._known.get(name), done, config)
        tracker.start()
        if name not in self._known and name != "tensorboard":
            self._known[name] = tracker.tracker.info.run_id if name == "mlflow" else tracker.init_kwargs["name"]
            write_atomically(self.folder / _KNOWN, json.dumps(self._known, indent=1) + "\n")
        if not done:
            tracker.store_init_configuration(config)
        self._trackers[name] = tracker


def _tracker(name: str, folder: Path, known: str | None, done: int, config: Mapping[str, Any]) -> GeneralTracker:
    """Make one of accelerate's trackers for the run that `folder` is in, which the service may know by a name."""
    kind = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":  # what an earlier process has logged of later steps is not shown
        return kind(name, folder, purge_step=done + 1)
    run = re.sub(r"[^\w-]+", "-", folder.resolve().parent.name, flags=re.ASCII)
    if name == "mlflow":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # who asked for a file did not ask for that
        place = None
        if "MLFLOW_TRACKING_URI" not in os.environ:
            import_module("mlflow").set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
            place = (folder / "mlflow").resolve().as_uri()
        return kind(_PROJECT, logging_dir=place, run_id=known, run_name=run)
    # Nobody else's run may be called the same.
    run = known or f"{run}-{secrets.token_hex(4)}"
    if name == "wandb":
        return kind(_PROJECT, dir=str(folder), name=run, id=run, resume="allow")
    # trackio forgets settings that it is given later.
    quiet = {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}
    return kind(_PROJECT, name=run, resume="allow", config=dict(config), **quiet)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested settings under dotted names; what is neither number nor text, as JSON."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            is_plain = isinstance(value, (int, float, str))
            flat[_plain(prefix + key)] = value if is_plain else json.dumps(value, default=str)
    return flat


def _plain(name: str) -> str:
    """A name without what one of the services refuses."""
    return re.sub(r"[^\w./-]", "_", name, flags=re.ASCII)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
