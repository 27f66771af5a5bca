"""The report of a run: what it reads, what it says, and that its page shows text as text and needs nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ssft.data import Utterances
from ssft.errors import DataError, RunError
from ssft.report.curves import names_of, training_curves
from ssft.report.document import (
    Bullets,
    Clip,
    Code,
    Document,
    Facts,
    Fold,
    Heading,
    Neighbours,
    Picture,
    Section,
    Table,
    Text,
)
from ssft.report.markdown import blocks_of, to_markdown
from ssft.report.measured_sections import read_results
from ssft.report.run_files import RunFiles
from ssft.report.run_page import to_html
from ssft.report.run_report import RunReport
from ssft.report.section import section
from ssft.report.sound import Sound
from ssft.report.training_sections import audio, curves, trained
from ssft.report.verdict import verdict
from ssft.types import Utterance

BAD = "<script>alert('x')</script> & \"quotes\" | `tick` $x_1$"
STEPS = [{"step": step, "epoch": 0, "loss": 1 / step, "lr": 1e-4, "hours": step / 60} for step in range(1, 9)]


def run_folder(folder: Path, **files: str) -> Path:
    """A run as it is on disk; `files` replaces or adds what is in it."""
    recipe = "name: mine\nencoder: {model: tiny, trainable_layers: 2}\nloss: {name: soft_dtw}\nhead: {name: identity}\n"
    recipe += "views: {reference: frozen}\ntrain: {steps: 8, seed: 5, select: label_free}\ndata: {root: speech}\n"
    judged = [{"step": step, "select": "label_free", "value": step / 10, "score": step / 10} for step in (4, 8)]
    found = {
        "recipe.yaml": recipe,
        "environment.json": json.dumps({"device": "cpu", "packages": {"ssft": "9.9"}}),
        "metrics.jsonl": lines(STEPS),
        "validation.jsonl": lines(judged),
        **files,
    }
    for name, text in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


# --- what a run wrote down -------------------------------------------------------------------------------------------


def test_a_run_that_is_whole_is_read_without_a_problem(tmp_path: Path) -> None:
    exported = {"adapted/ssft.json": json.dumps({"steps": 4, "trained_layers": [5, 6]})}
    files = RunFiles.read(run_folder(tmp_path, **exported))
    assert files.problems == []
    assert (files.steps_made, files.chosen_step, files.setting("train", "seed")) == (8, 4, 5)
    assert files.setting("train", "nothing", "like it") is None


def test_what_is_damaged_is_left_out_and_said(tmp_path: Path) -> None:
    damaged = {
        "metrics.jsonl": lines(STEPS[:3]) + '{"step": 4, "lo\n' + '[1]\n{"step": "five"}\n' + lines(STEPS[5:]),
        "environment.json": "{",
        "adapted/ssft.json": "[]",
    }
    files = RunFiles.read(run_folder(tmp_path, **damaged))
    assert [record["step"] for record in files.metrics] == [1, 2, 3, 6, 7, 8]
    assert files.problems == [
        "environment.json is damaged, and what it says is missing here.",
        "Lines of metrics.jsonl that cannot be read and are left out: 3.",
        "ssft.json is damaged, and what it says is missing here.",
    ]
    blocks, record = trained(files)
    assert [Text(problem) for problem in files.problems] == [
        block for block in blocks if block in map(Text, files.problems)
    ]
    assert record["problems"] == files.problems


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: it holds no recipe\.yaml"):
        RunFiles.read(tmp_path)


def test_a_recipe_that_is_damaged_still_gives_curves(tmp_path: Path) -> None:
    files = RunFiles.read(run_folder(tmp_path, **{"recipe.yaml": "{not: [yaml"}))
    assert files.problems == ["recipe.yaml is damaged, and what it says is missing here."]
    assert trained(files)[1]["base"] is None
    assert curves(files)[1]["steps"] == 8


def test_an_unfinished_run_and_one_without_an_export_say_so(tmp_path: Path) -> None:
    files = RunFiles.read(run_folder(tmp_path, **{"metrics.jsonl": lines(STEPS[:3])}))
    said = " ".join(block.text for block in trained(files)[0] if isinstance(block, Text))
    assert "made 3 of 8 steps" in said
    assert f"ssft export {tmp_path}" in said
    facts = trained(files)[1]
    assert (facts["steps"], facts["heard_hours"], facts["minutes_of_steps"]) == (3, 0.05, None)


def test_curves_need_a_step_and_name_what_was_thrown_away(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no step"):
        curves(RunFiles.read(run_folder(tmp_path, **{"metrics.jsonl": ""})))
    discarded = lines([{"step": 3, "epoch": 0, "what": "loss is nan", "ids": ["a"]}] * 2)
    blocks, record = curves(
        RunFiles.read(run_folder(tmp_path, **{"metrics.jsonl": lines(STEPS), "discarded.jsonl": discarded}))
    )
    assert record["discarded"] == [3, 3]
    assert any(isinstance(block, Text) and "loss is nan (2)" in block.text for block in blocks)
    (fold,) = [block for block in blocks if isinstance(block, Fold)]
    (table,) = fold.blocks
    assert isinstance(table, Table)
    assert table.header == ["step", "value, label_free", "score"]
    assert table.rows == [["4", "0.4", "0.4"], ["8", "0.8", "0.8"]]


@pytest.mark.parametrize(
    "metrics",
    [
        STEPS,
        STEPS[:1],
        [{**STEPS[0], "loss": float("nan")}],
        [{"step": step, "loss": 0.5} for step in range(1, 400)],
        [],
    ],
    ids=["some", "one", "nan", "many", "none"],
)
def test_whatever_was_written_down_gives_a_picture(metrics: list[dict[str, Any]]) -> None:
    png = training_curves(metrics, [{"step": 1, "score": None}], discarded=[1], chosen=1)
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") <= 1500


def test_the_loss_comes_first_and_what_says_nothing_is_no_curve() -> None:
    record = {"step": 1, "pairs": 3, "zebra": 1.0, "is_on": True, "loss": 2, "name": "x", "lr": 0.1, "hours": 1.0}
    assert names_of([record]) == ["loss", "lr", "zebra"]


def test_rejects_are_counted_by_reason_with_a_few_named(tmp_path: Path) -> None:
    rows = [f"{n}\t/x/{n}.wav\tsilent\tthere is no signal" for n in range(5)] + ["9\t/x/9.wav\tcorrupt\tno"]
    files = RunFiles.read(
        run_folder(tmp_path, **{"rejects.tsv": "\n".join(["id\tpath\treason\tdetail", *rows]) + "\n"})
    )
    utterances = [Utterance(str(n), Path(f"/x/{n}.wav"), 3600.0, speaker="kim" if n else "unknown") for n in range(3)]
    blocks, record = audio(files, Utterances.of(utterances), held_out=1)
    assert (record["hours"], record["speakers"], record["kept_from_training"]) == (3.0, 1, 1)
    assert record["rejects"] == {"silent": 5, "corrupt": 1}
    (table,) = [block for block in blocks if isinstance(block, Table)]
    assert table.rows[0][:2] == ["silent", "5"]
    assert table.rows[0][3] == "/x/0.wav, /x/1.wav, /x/2.wav and 2 more"
    blocks, record = audio(files, None, lost="gone.")
    assert any(isinstance(block, Text) and "gone." in block.text for block in blocks)


# --- the verdict -----------------------------------------------------------------------------------------------------


def results(*verdicts: str | None) -> dict[str, Any]:
    """Results of `adapted` against `base` with one measure for each verdict; None has no interval."""
    scores, differences = [], []
    for number, word in enumerate(verdicts):
        row = {
            "task": "abx",
            "measure": f"m{number}",
            "layer": 6,
            "condition": "clean",
            "better": "lower",
            "percent": True,
        }
        scores += [{**row, "system": name, "value": 0.1} for name in ("base", "adapted")]
        limits = {"value": 0.0, "low": None if word is None else -1.0, "high": None if word is None else 1.0}
        differences.append(
            {**row, **limits, "system": "adapted", "base": "base", "against": "same layer", "verdict": word}
        )
    systems = {name: {"last_layer": 6, "weights": name} for name in ("base", "adapted")}
    return {
        "base": "base",
        "systems": systems,
        "scores": scores,
        "differences": differences,
        "corpus": {},
        "bootstrap": {},
    }


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["better", "better"], "**Better**: adapted is better than base in m0, m1."),
        (["worse"], "**Not better but worse**: adapted is worse than base in m0."),
        (
            ["no difference shown"],
            "**Not better, as far as can be shown**: none of 1 measures sets adapted apart from base.",
        ),
        (["better", "worse"], "**Mixed**: adapted is better than base in m0 and worse than base in m1."),
        (
            [None],
            "**Not shown to be better**: nothing can be said of adapted against base: no measure has an interval.",
        ),
    ],
)
def test_the_verdict_is_that_of_the_evaluation_and_may_be_not_better(verdicts: list[str | None], said: str) -> None:
    assert verdict(results(*verdicts), "adapted") == said


def test_without_labels_the_verdict_claims_nothing() -> None:
    why = "abx cannot be measured on mine: It has no phones.\npr cannot."
    found = verdict(None, "adapted", label_free=["alignment 0.4 to 0.2"], unmeasured=why)
    assert found == (
        "**Not shown to be better**: abx cannot be measured on mine: It has no phones; pr cannot; "
        "without labels: alignment 0.4 to 0.2."
    )
    assert verdict(None, "", unmeasured="there is no adapted model.").startswith(
        "**Nothing was measured**, so nothing can"
    )
    alone = {**results("better"), "systems": {"adapted": {"last_layer": 6}}}
    assert verdict(alone, "adapted") == "**Not shown to be better**: there is no base to compare with."


def test_results_are_taken_only_if_they_are_of_these_weights(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results("better")))
    record, name = read_results(path, "adapted")
    assert name == "adapted"
    assert record == results("better")
    with pytest.raises(DataError, match="none of which is the adapted encoder of this run as it is now"):
        read_results(path, "others")
    for text in ("{", "[]", '{"scores": {}, "seconds": {}}', '{"systems": {"a": 3}}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"is no results\.json"):
            read_results(path, "adapted")


# --- page and Markdown -----------------------------------------------------------------------------------------------


def sound(seconds: float = 0.5) -> Sound:
    return Sound.of(0.3 * np.sin(np.arange(int(16_000 * seconds)) / 8).astype(np.float32), cut_out=True)


def document() -> Document:
    clip = Clip(BAD, BAD, sound(), [BAD])
    blocks = [
        Text(BAD),
        Heading(BAD),
        Bullets([BAD]),
        Table([BAD, BAD], [[BAD, BAD], ["", "1.5"]]),
        Facts({BAD: BAD}),
        Picture(b"\x89PNG", BAD),
        Code(f"{BAD}\n```\nmore"),
        Fold(BAD, [Text(BAD)]),
        Neighbours(clip, {BAD: [clip]}),
    ]
    return Document(BAD, BAD, [BAD], [Section("one", BAD, blocks), Section("two", BAD, missing=BAD)])


class Reader(HTMLParser):
    """Checks that tags are closed in the order in which they were opened."""

    EMPTY = ("meta", "img", "br", "input", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_text_as_text_and_needs_no_other_file() -> None:
    html = to_html(document())
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert html.count("<script") == 1
    assert "alert('x')" not in html
    assert '& "' not in html
    assert not re.search(r"https?:|url\(|//[a-z]", re.sub(r"data:[^\"]*", "", html))
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert {source.split(",")[0] for source in sources} <= {
        "#one",
        "#two",
        "data:image/png;base64",
        "data:audio/mpeg;base64",
    }
    assert html.count("<audio") == 2
    assert 'class="missing"' in html


def test_a_table_scrolls_by_itself_and_numbers_stand_on_the_right() -> None:
    html = to_html(
        Document("t", "v", [], [Section("s", "s", [Table(["", "a", "b"], [["x", "-1.5", "2 of 3"], ["y", "-", "4"]])])])
    )
    assert '<div class="scroll" tabindex="0"><table>' in html
    assert "<td class=number>-1.5</td><td>2 of 3</td>" in html


def test_the_markdown_says_the_same_and_nothing_of_it_is_html() -> None:
    text = to_markdown(document())
    assert "<script" not in re.sub(r"````.*?````", "", text, flags=re.S)
    assert text.startswith("# &lt;script")
    assert text.count("## ") == 4
    assert "Missing: " in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [3] * 4
    assert "````\n" in text


def test_a_page_of_an_evaluation_becomes_blocks() -> None:
    page = "# Title\n\n**Better**: a.\n\n## Part\n\n|   | x |\n|---|---|\n| a | 1 |\n\n- one\n- two\n"
    assert blocks_of(page) == [
        Text("**Better**: a."),
        Heading("Part"),
        Table(["", "x"], [["a", "1"]]),
        Bullets(["one", "two"]),
    ]


def test_a_section_that_cannot_be_made_says_why() -> None:
    def fails() -> Any:
        raise DataError("It has no phones.")

    found = section("scores", "Scores", fails)
    assert (found.missing, found.record) == ("It has no phones.", {"missing": "It has no phones."})


# --- sounds ----------------------------------------------------------------------------------------------------------


def test_a_sound_is_what_it_was_and_small() -> None:
    time = np.arange(2 * 16_000) / 16_000
    wave = (0.3 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    made = Sound.of(wave)
    data = base64.b64decode(made.uri.split(",")[1])
    heard, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert (rate, len(heard)) == (16_000, len(wave))
    assert made.seconds == 2.0
    spectrum = np.abs(np.fft.rfft(heard[8000:24_000]))
    assert int(spectrum.argmax()) == 300
    assert len(data) < 32_000


def test_a_sound_too_loud_is_turned_down_and_edges_are_soft() -> None:
    loud = Sound.of(np.full(4000, 3.0, np.float32), cut_out=True)
    heard = soundfile.read(io.BytesIO(loud.data), dtype="float32")[0]
    assert np.abs(heard).max() <= 1.01
    assert abs(heard[0]) < 0.3
    assert Sound.of(np.zeros(1, np.float32), cut_out=True).seconds == 1 / 16_000


# --- the folder ------------------------------------------------------------------------------------------------------


def test_a_report_replaces_a_report_and_nothing_else(tmp_path: Path) -> None:
    facts = {"run": "x"}
    record = RunReport(tmp_path / "report", facts=facts).save("t", "v", [Section("s", "s", record={"a": float("nan")})])
    assert record == json.loads((tmp_path / "report/report.json").read_text())
    assert record["sections"] == {"s": {"a": None}}
    assert record["bytes"] == (tmp_path / "report/report.html").stat().st_size
    (tmp_path / "report/notes.txt").write_text("mine")
    RunReport(tmp_path / "report", facts=facts).save("t", "w", [])
    assert (tmp_path / "report/notes.txt").read_text() == "mine"
    for name, text in (("report.html", "mine"), ("report.json", "{}"), ("report.json", "[")):
        other = tmp_path / text.strip("{[") / name
        other.parent.mkdir(exist_ok=True)
        other.write_text(text)
        with pytest.raises(RunError, match=r"did not write\. Choose another --out"):
            RunReport(other.parent, facts=facts)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Choose another --out"):
        RunReport(tmp_path / "file", facts=facts)


def test_names_that_are_not_utf8_are_written_with_their_bytes(tmp_path: Path) -> None:
    RunReport(tmp_path, facts={"run": "a\udcff"}).save("a\udcff", "v", [])
    assert "a\\udcff" in (tmp_path / "report.html").read_text(encoding="utf-8")
