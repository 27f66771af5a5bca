"""What `ssft doctor` finds on other machines than this: each problem is noticed, and has a command that mends it."""

from __future__ import annotations

import importlib
import re
import tempfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from packaging.specifiers import SpecifierSet

from ssft.cli.doctor import in_json, in_words
from ssft.data import audio
from ssft.doctor import examination, examine, formats, gpu, known, machine, optional, packages
from ssft.doctor.finding import Finding, Section, first_line, pip_install
from ssft.engine.settings import TRACKERS


@pytest.fixture
def light(monkeypatch):
    """No package is really imported: they are those that import without a word, unless a test breaks some."""
    broken: dict[str, Exception] = {}

    def import_module(name: str) -> None:
        if name.partition(".")[0] in broken:
            raise broken[name.partition(".")[0]]

    monkeypatch.setattr(importlib, "import_module", import_module)
    return broken


def versions(monkeypatch, **found: str | None) -> None:
    real = packages.version

    def version(name: str) -> str:
        if name not in found:
            return real(name)
        if (text := found[name]) is None:
            raise PackageNotFoundError(name)
        return text

    monkeypatch.setattr(packages, "version", version)


def look(part) -> dict[str, Finding]:
    found = {finding.name: finding for finding in part.look()}
    for finding in found.values():
        assert finding.status != "problem" or finding.mend, finding
    return found


class TestPackages:
    def test_what_ssft_requires_is_looked_at_and_nothing_else(self, light):
        found = look(packages)
        assert {"ssft", "python", "torch", "torchaudio", "transformers", "soundfile", "numba"} <= set(found)
        assert not {"pytest", "praat-parselmouth", "hypothesis"} & set(found)
        assert found["torch"].facts["supported"] == ">=2.11,<2.15"
        assert found["torch"].facts["imports"] is True

    @pytest.mark.parametrize(
        ("version", "says"),
        [("4.40.0", "4.40.0, but supported are >=5.17,<6"), ("6.0", "6.0, but"), (None, "not installed")],
    )
    def test_versions_that_are_not_supported(self, light, monkeypatch, version, says):
        versions(monkeypatch, transformers=version)
        found = look(packages)["transformers"]
        assert found.status == "problem"
        assert says in found.value
        assert found.mend == 'python -m pip install "transformers>=5.17,<6"'

    @pytest.mark.parametrize("version", ["2.14.1+cpu", "2.14.1+cu130", "2.12.0.post1"])
    def test_builds_of_supported_versions_are_supported(self, light, monkeypatch, version):
        versions(monkeypatch, torch=version)
        assert look(packages)["torch"].status == "ok"

    def test_torch_and_torchaudio_of_two_builds_are_mended_together(self, light, monkeypatch):
        refusal = "Detected that PyTorch and TorchAudio were compiled with different CUDA versions."
        light |= {name: RuntimeError(refusal) for name in ("torchaudio", "transformers", "peft")}
        versions(monkeypatch, torch="2.15.0")
        found = look(packages)
        both = 'python -m pip install --force-reinstall "torch>=2.11,<2.15" "torchaudio>=2.11,<2.12"'
        for name in ("torch", "torchaudio", "transformers", "peft"):
            assert found[name].status == "problem"
            assert found[name].mend == both
        assert found["transformers"].facts["imports"] is False
        assert found["soundfile"].status == "ok"

    def test_a_torchaudio_for_cuda_beside_a_torch_without_it(self, light, monkeypatch):
        light["torchaudio"] = OSError("libc10_cuda.so: cannot open shared object file: No such file or directory")
        versions(monkeypatch, torch="2.14.1+cpu")
        found = look(packages)
        assert found["torch"].status == "ok"
        assert "whl/cpu" in found["torchaudio"].mend
        assert '"torchaudio>=2.11,<2.12"' in found["torchaudio"].mend
        assert '"torch>' not in found["torchaudio"].mend

    def test_ssft_without_an_installation(self, light, monkeypatch):
        def none(name: str):
            raise PackageNotFoundError(name)

        monkeypatch.setattr(packages, "metadata", none)
        assert look(packages)["ssft"].status == "problem"

    def test_an_old_python(self, light, monkeypatch):
        monkeypatch.setattr(packages.platform, "python_version", lambda: "3.9.18")
        found = look(packages)["python"]
        assert (found.status, found.facts["supported"]) == ("problem", ">=3.10")


class TestMachine:
    def test_this_one(self):
        found = look(machine)
        assert found["processor"].facts["cores"] >= 1
        assert found["memory"].facts["total_bytes"] > found["memory"].facts["free_bytes"] > 0
        assert found["current folder"].facts["writable"] is True

    def test_a_folder_that_cannot_be_written(self, monkeypatch, tmp_path):
        def refuse(dir):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
        monkeypatch.setattr(machine, "_model_cache", lambda: tmp_path / "not" / "there")
        found = look(machine)["model cache"]
        assert found.status == "problem"
        assert "Permission denied" in found.value
        assert found.mend.startswith("export HF_HOME=")

    def test_a_folder_that_is_not_there_yet_is_not_made(self, monkeypatch, tmp_path):
        monkeypatch.setattr(machine, "_model_cache", lambda: tmp_path / "not" / "there")
        assert look(machine)["model cache"].facts["writable"] is True
        assert list(tmp_path.iterdir()) == []

    def test_secrets_are_not_told(self, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        text = str(list(machine.look()))
        assert "hf_secret" not in text
        assert "OMP_NUM_THREADS=3" in text

    @pytest.mark.parametrize(
        ("build", "warning", "says", "mend"),
        [
            (None, None, "built without CUDA", "whl/cu130"),
            ("13.0", "The NVIDIA driver on your system is too old", "is too old", "nvidia-smi"),
            ("13.0", None, "no device is visible", "nvidia-smi"),
        ],
    )
    def test_a_gpu_that_torch_cannot_use(self, monkeypatch, build, warning, says, mend):
        import warnings

        def is_available() -> bool:
            if warning:
                warnings.warn(warning, UserWarning, stacklevel=1)
            return False

        monkeypatch.setattr(torch.cuda, "is_available", is_available)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(torch.version, "cuda", build)
        monkeypatch.setattr(gpu.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
        (found,) = gpu.gpus()
        assert says in found.value
        assert mend in found.mend
        assert found.status == "note"  # training works, on the processor


class TestFormats:
    def test_all_that_is_taken_for_audio_is_tried(self):
        other_names = {".oga": "ogg", ".aif": "aiff", ".aifc": "aiff"}
        tried = {f".{name}" for name in formats.FORMATS}
        assert {name for name in audio.EXTENSIONS if name not in other_names} == tried
        assert set(other_names.values()) <= set(formats.FORMATS)

    def test_every_format_is_read_here(self):
        found = look(formats)
        assert {name for name in formats.FORMATS if found[name].status != "ok"} == set()

    def test_a_libsndfile_without_mp3(self, monkeypatch):
        write = soundfile.write

        def without_mp3(path, *arguments, **how):
            if how["format"] == "MP3":
                raise soundfile.LibsndfileError(1)
            write(path, *arguments, **how)

        monkeypatch.setattr(soundfile, "write", without_mp3)
        found = look(formats)
        assert [name for name, finding in found.items() if finding.status == "problem"] == ["mp3"]
        assert found["mp3"].mend == "python -m pip install --upgrade soundfile"

    @pytest.mark.parametrize(
        ("spoil", "says"),
        [
            (lambda wave: wave[::2], "0.50 s"),
            (lambda wave: wave / 2, "440 Hz, 0.25"),
            (lambda wave: np.tile(wave[::2], 2), "880 Hz"),
        ],
    )
    def test_a_decoder_that_reads_something_else(self, monkeypatch, tmp_path, spoil, says):
        assert formats.trouble("wav", tmp_path) is None
        read = audio.read_audio
        monkeypatch.setattr(audio, "read_audio", lambda path: spoil(read(path)))
        assert says in str(formats.trouble("wav", tmp_path))


class TestOptional:
    def test_what_is_missing_has_a_command(self, monkeypatch):
        versions(monkeypatch, **dict.fromkeys(optional.OPTIONAL))
        found = look(optional)
        assert set(found) == set(optional.OPTIONAL)
        assert all(finding.status == "note" and finding.mend for finding in found.values())
        assert found["praat-parselmouth"].mend == 'python -m pip install "ssft[praat]"'

    def test_extras_that_are_named_exist(self):
        text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        listed = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
        extras = set(re.findall(r"^([a-z]+) = \[", listed, re.MULTILINE))
        wanted = {extra for _, what in optional.OPTIONAL.values() for extra in re.findall(r"^ssft\[(.+)\]$", what)}
        assert wanted <= extras

    def test_trackers_that_a_recipe_can_name_are_looked_for(self):
        assert set(TRACKERS) <= set(optional.OPTIONAL)

    def test_what_is_there(self, monkeypatch):
        versions(monkeypatch, tensorboard="2.21.0")
        assert look(optional)["tensorboard"].facts["version"] == "2.21.0"


class TestKnown:
    def test_each_is_of_a_package_that_ssft_requires_and_says_how_it_is_known(self):
        for one in known.KNOWN:
            assert one.package in packages.requirements()
            SpecifierSet(one.versions)
            assert one.source.startswith(("seen in", "reported for"))
            assert one.fault.endswith(".")
            assert one.answer.endswith(".")

    def test_only_the_installed_versions_are_spoken_of(self, monkeypatch):
        def torch_faults(version: str) -> list[str]:
            versions(monkeypatch, torch=version)
            return [finding.facts["fault"] for finding in known.look() if finding.name == "torch"]

        assert torch_faults("2.14.1") == []
        assert "refuse each other" in torch_faults("2.15.0")[0]


class TestExamination:
    def test_a_section_that_breaks_is_a_problem_and_the_others_are_made(self, monkeypatch):
        def breaking():
            yield Finding("first", "well")
            raise OSError("the disk is gone\nand more")

        def well():
            yield Finding("second", "well")

        monkeypatch.setattr(examination, "_SECTIONS", {"one": ("", breaking), "two": ("", well)})
        one, two = examine()
        assert [finding.name for finding in one.findings] == ["first", "one"]
        assert "OSError: the disk is gone" in one.problems[0].value
        assert one.problems[0].mend
        assert two.problems == []


def test_json_has_all_keys_in_every_finding_and_counts_problems():
    sections = [
        Section("packages", [Finding("torch", "2.15.0", "problem", "pip", {"version": "2.15.0"})]),
        Section("machine", [Finding("system", "Linux")]),
    ]
    report = in_json(sections)
    assert (report["ok"], report["problems"]) == (False, 1)
    assert list(report["sections"]) == ["packages", "machine"]
    keys = {"name", "value", "status", "mend", "facts"}
    assert all(set(finding) == keys for section in report["sections"].values() for finding in section)


def test_lines_fit_the_terminal_but_for_commands_which_stay_whole():
    command = pip_install(*[f"package{number}>=1.0" for number in range(9)])
    words = in_words(Section("packages", [Finding("a package", "text " * 60, "problem", command)]))
    *text, last = words.splitlines()
    assert last.strip() == command
    assert max(map(len, text)) <= 80
    assert text[0].startswith(" !!  a package")
    assert "".join(words.split()).count("text") == 60


def test_formats_that_are_read_share_a_line():
    some = [Finding("wav", "read"), Finding("mp3", "no decoder", "problem", "pip"), Finding("flac", "read")]
    assert in_words(Section("formats", some)).splitlines()[0].split(maxsplit=2) == ["ok", "read", "wav, flac"]
    assert "mp3" not in in_words(Section("formats", [some[0]]))
    assert "!!  mp3" in in_words(Section("formats", [some[1]]))


@pytest.mark.parametrize(
    ("error", "line"), [(OSError("a\nb"), "a"), (ValueError(), "ValueError"), (RuntimeError("\n c \n"), "c")]
)
def test_an_error_in_a_line(error, line):
    assert first_line(error) == line


def test_commands_quote_what_a_shell_would_take_for_something_else():
    assert pip_install("lhotse", "ssft[praat]") == 'python -m pip install lhotse "ssft[praat]"'
    assert Path(pip_install("a").split()[0]).name == "python"
