"""Reading PyTorch files of unknown origin: tensors and settings come out, and nothing in the file is ever run."""

from __future__ import annotations

import _compat_pickle
import builtins
import pickletools
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from ssft.errors import EncoderError

_DATA_MODULES = {"argparse", "collections", "copyreg", "datetime", "decimal", "enum", "pathlib", "typing", "uuid"}
"""Modules of the standard library whose classes hold settings. Of all others, and of torch, nothing is asked for but by
a file that wants to do something."""

_TYPES = [f"builtins.{name}" for name, value in vars(builtins).items() if isinstance(value, type)]
_GETITEM = ["operator.getitem", "_operator.getitem"]  # by which `Optional[int]` is written


class StandIn:
    """What an object of any class in a file becomes: the arguments it was made with and its attributes.

    It has no behaviour, so that it is safe whatever the file says its class is.
    """

    _arguments: tuple[Any, ...]

    def __new__(cls, *arguments: Any) -> StandIn:
        """Keep the arguments; a function that the file would call is an object made with them, too."""
        made = super().__new__(cls)
        made._arguments = arguments
        return made

    def __init__(self, *arguments: Any) -> None:
        """Do nothing more."""

    def __setstate__(self, state: Any) -> None:
        """Keep attributes; other forms of state, such as that of numpy's types, are of no use here."""
        if isinstance(state, dict):
            self.__dict__.update(state)


def read_torch_file(path: Path) -> Any:
    """Return what `torch.save` wrote, tensors on the CPU and every object that is not torch's own as a `StandIn`.

    torch's own reader does it, `torch.load(weights_only=True)`, which calls and builds nothing but what it is told is
    safe; it is told of stand-ins alone. Both formats can be read, zip and the one before torch 1.6. Tensors in zip
    files are mapped, not copied: what is not used is not read.

    Raises:
        EncoderError: not such a file, damaged, or one that asks for more than data.
    """
    try:
        is_zip = zipfile.is_zipfile(path)
        names = set(_globals_of(path, is_zip))
    except OSError as error:
        raise EncoderError(
            f"{path} cannot be opened: {error.strerror or error}. Check the path and its rights."
        ) from error
    except Exception as error:  # whatever bytes that mean something else make of themselves
        raise EncoderError(
            f"{path} is not a checkpoint that torch.save wrote, or it is cut off: download it again. For a Hugging "
            "Face model, pass its folder."
        ) from error
    stand_ins: list[Any] = [(StandIn, name) for name in [*_TYPES, *_GETITEM, *filter(_is_data, names)]]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # whatever a damaged file, a wrong one or an unsafe one makes its reader raise
        raise EncoderError(_explained(path, str(error) or type(error).__name__)) from error


def plain(value: Any) -> Any:
    """Turn settings into dicts, lists, numbers and strings, be they a Namespace, an OmegaConf node or an enum.

    Raises:
        EncoderError: they contain themselves.
    """
    try:
        return _plain(value)
    except RecursionError:
        raise EncoderError("The settings in the checkpoint contain themselves; it is damaged.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items() if isinstance(key, (str, int))}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (type, torch.Tensor)):
        return None
    attributes = dict(getattr(value, "__dict__", {}))
    arguments = attributes.pop("_arguments", ())
    for content in ("_content", "_val"):  # of OmegaConf's containers and of its leaves
        if content in attributes:
            return _plain(attributes[content])
    if not attributes and len(arguments) == 1:  # an enum is written as its class and its value
        return _plain(arguments[0])
    return _plain(attributes)


def _globals_of(path: Path, is_zip: bool) -> Iterator[str]:
    """Give the names of all classes and functions that a file asks for, by looking at it alone."""
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                yield from _globals_in(file)
        return
    with path.open("rb") as file:
        for _ in range(4):  # a magic number, a version, the system, and then the object
            yield from _globals_in(file)


def _globals_in(file: IO[bytes]) -> Iterator[str]:
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            yield str(argument).replace(" ", ".", 1)


def _is_data(name: str) -> bool:
    """Whether a class of this name may be replaced by a stand-in; the rest is left to torch, which knows its own."""
    package = name.split(".", 1)[0]
    package = _compat_pickle.IMPORT_MAPPING.get(package, package)  # files name modules as Python 2 did
    return package in _DATA_MODULES or package not in {"torch", *sys.stdlib_module_names}


def _explained(path: Path, problem: str) -> str:
    asked = re.search(r"GLOBAL (\S+)", problem)
    if asked:
        return (
            f"{path} asks for '{asked[1]}', which is neither a tensor nor a setting: such a file may run a program "
            "when it is opened. Nothing in it was run. Get the checkpoint from its publisher, or have it saved anew by "
            "somebody you trust: torch.save({'cfg': settings, 'model': model.state_dict()}, FILE)."
        )
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    detail = next((line for line in lines if "Unpickler error" in line), lines[0])
    return (
        f"{path} cannot be read: {detail[:200]} It is damaged, or holds objects that are not plain data. Download it "
        "again, or save it anew where it was made: torch.save({'cfg': settings, 'model': model.state_dict()}, FILE)."
    )
