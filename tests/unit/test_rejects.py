"""What cannot be used: each once in rejects.tsv, whatever its name; too many of them stop a run with a table."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssft.data.audio import REASONS
from ssft.data.rejects import as_line, read_rejects, refuse_too_many, too_many, write_rejects
from ssft.engine.reject_log import RejectLog
from ssft.errors import DataError, RunError
from ssft.types import Reject

WHERE = Path("runs/x/rejects.tsv")
UNUSABLE = sorted(set(REASONS) - {"too_short"})


def some(count: int, reason: str = "corrupt", first: int = 0) -> list[Reject]:
    return [Reject(f"{n}.wav", Path(f"/audio/{n}.wav"), reason, "why") for n in range(first, first + count)]


def silently(_: str) -> None:
    pass


class TestTooMany:
    @pytest.mark.parametrize(
        ("count", "total", "limit"),
        [(0, 0, 0.0), (0, 10, 0.0), (5, 100, 0.05), (29, 100, 0.29), (1, 3, 1 / 3), (10, 10, 1.0)],
    )
    def test_a_share_up_to_the_limit_is_accepted(self, count, total, limit):
        refuse_too_many(some(count), total=total, limit=limit, where=WHERE)

    @pytest.mark.parametrize(
        ("count", "total", "limit"), [(1, 1000, 0.0), (6, 100, 0.05), (30, 100, 0.29), (10, 10, 0.99)]
    )
    def test_a_larger_share_is_not(self, count, total, limit):
        with pytest.raises(DataError, match=rf"{count} of {total:,} recordings .* cannot be used"):
            refuse_too_many(some(count), total=total, limit=limit, where=WHERE)

    def test_the_table_has_each_reason_once_with_its_count_share_meaning_and_a_file(self):
        rejects = [*some(3, "silent"), *some(9, "corrupt", first=3), *some(1, "missing", first=12)]
        message = str(too_many(rejects, total=50, limit=0.05, where=WHERE))
        rows = [line.split(maxsplit=4) for line in message.splitlines() if re.match(r"  \w+ +\d", line)]
        assert [(row[0], row[1], row[2]) for row in rows] == [
            ("corrupt", "9", "18"),
            ("silent", "3", "6"),
            ("missing", "1", "2"),
        ]
        for reason, first in (("silent", 0), ("corrupt", 3), ("missing", 12)):
            assert re.search(rf"  {reason} .*{re.escape(REASONS[reason])}\n +/audio/{first}\.wav\n", message)
        assert str(WHERE) in message

    def test_recordings_below_min_seconds_do_not_count(self):
        short = some(90, "too_short")
        refuse_too_many(short, total=100, limit=0.0, where=WHERE)
        message = str(too_many([*short, *some(2, first=90)], total=100, limit=0.01, where=WHERE))
        assert message.startswith("2 of 100 recordings (2 %)")
        assert "90 are shorter than data.min_seconds" in message
        assert "too_short" not in message

    @given(total=st.integers(1, 10_000), data=st.data())
    def test_the_remedy_that_is_named_is_one(self, total, data):
        rejects = some(data.draw(st.integers(1, min(total, 300))))
        message = str(too_many(rejects, total=total, limit=0.0, where=WHERE))
        (accepting,) = re.findall(r"--data\.max_rejects (\S+)\.$", message)
        assert 0 < float(accepting) <= 1
        refuse_too_many(rejects, total=total, limit=float(accepting), where=WHERE)

    @pytest.mark.parametrize("reason", UNUSABLE)
    def test_every_other_reason_counts_and_is_explained(self, reason):
        assert REASONS[reason] in str(too_many(some(1, reason), total=1, limit=0.5, where=WHERE))


NAMES = st.text(st.characters(exclude_characters="\0/\t\r\n"), min_size=1).filter(lambda name: name not in (".", ".."))


class TestFile:
    @given(names=st.lists(NAMES, unique=True, max_size=8))
    def test_what_is_written_is_read_whatever_the_names_hold(self, names, tmp_path_factory):
        path = tmp_path_factory.mktemp("file") / "rejects.tsv"
        rejects = [Reject(name, Path("/audio") / name, "silent", f"of {name}") for name in names]
        write_rejects(rejects, path)
        found = read_rejects(path)
        assert len(found) == len(rejects)
        # A lone surrogate is a byte that is no UTF-8.
        assert [as_line(reject) for reject in found] == [as_line(reject) for reject in rejects]
        if not any("\ud800" <= letter <= "\udfff" for name in names for letter in name):
            assert found == rejects

    def test_tabs_and_breaks_do_not_make_columns_and_rows(self, tmp_path):
        path = tmp_path / "rejects.tsv"
        write_rejects([Reject("a\tb\nc\rd", Path("/x\ty"), "corrupt", "first\nsecond")], path)
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        assert rows == [{"id": "a b c d", "path": "/x y", "reason": "corrupt", "detail": "first second"}]

    def test_a_line_cut_at_any_byte_costs_that_line_only(self, tmp_path):
        path = tmp_path / "rejects.tsv"
        rejects = [Reject(f"ünï {n}.wav", Path(f"/ünï/{n}.wav"), "corrupt", "schön wär's") for n in range(3)]
        write_rejects(rejects, path)
        whole = path.read_bytes()
        ends = [place for place, byte in enumerate(whole, 1) if byte == ord("\n")]
        for size in range(len(whole) + 1):
            path.write_bytes(whole[:size])
            lines = sum(end <= size for end in ends)
            assert read_rejects(path) == rejects[: max(lines - 1, 0)]


class TestLog:
    def test_what_is_found_while_training_comes_after_what_was_known(self, tmp_path):
        path, said = tmp_path / "rejects.tsv", []
        log = RejectLog(path, some(2), utterances=98)
        assert read_rejects(path) == some(2)
        log.note(some(1, "silent", first=2), said.append)
        assert read_rejects(path) == [*some(2), *some(1, "silent", first=2)]
        assert said == ["rejected /audio/2.wav: silent, why"]

    def test_noting_again_changes_nothing(self, tmp_path):
        path, said = tmp_path / "rejects.tsv", []
        log = RejectLog(path, some(1), utterances=9)
        odd = [Reject("tab\there.wav", Path("/audio/tab\there.wav"), "silent", "why")]
        for _ in range(3):  # once in an epoch, and once from each process
            log.note([*some(3), *some(3), *odd], said.append)
        assert Counter(reject.id for reject in read_rejects(path)) == Counter(
            ["0.wav", "1.wav", "2.wav", "tab here.wav"]
        )
        assert len(said) == 3

    def test_a_resumed_run_keeps_what_was_found_and_mends_a_line_that_was_cut(self, tmp_path):
        path = tmp_path / "rejects.tsv"
        odd = Reject("tab\there.wav", Path("/audio/tab\there.wav"), "silent", "why")
        RejectLog(path, [*some(1), odd], utterances=8).note(some(2, "silent", first=1), silently)
        with path.open("a") as file:
            file.write("9.wav\t/audio/9.wav\tsilent\tcut in the mid")
        log = RejectLog(path, [*some(1), odd], utterances=8, keep=True)
        log.note(some(1, "silent", first=3), silently)
        assert [reject.id for reject in read_rejects(path)] == ["0.wav", "tab here.wav", "1.wav", "2.wav", "3.wav"]

    def test_a_new_run_begins_a_new_file(self, tmp_path):
        path = tmp_path / "rejects.tsv"
        RejectLog(path, some(3), utterances=7)
        RejectLog(path, some(1), utterances=9)
        assert read_rejects(path) == some(1)

    def test_the_limit_is_a_share_of_the_whole_corpus(self, tmp_path):
        log = RejectLog(tmp_path / "rejects.tsv", some(2), utterances=98, limit=0.05)
        log.note(some(3, "silent", first=2), silently)
        assert log.problem() is None
        log.note(some(3, "silent", first=2), silently)  # the next epoch
        assert log.problem() is None
        log.note(some(1, "silent", first=5), silently)
        assert re.match(r"6 of 100 recordings", str(log.problem()))
        assert len(read_rejects(log.path)) == 6

    def test_processes_that_do_not_write_know_as_much(self, tmp_path):
        path = tmp_path / "rejects.tsv"
        logs = [RejectLog(path, some(1), utterances=9, limit=0.15, writes=rank == 0) for rank in range(2)]
        for log in logs:
            log.note(some(2), silently)
        assert len(read_rejects(path)) == 2
        assert str(logs[0].problem()) == str(logs[1].problem()) != "None"

    def test_lines_are_added_not_written_again(self, tmp_path):
        path = tmp_path / "rejects.tsv"
        log = RejectLog(path, some(1), utterances=9)
        path.write_text("")
        log.note(some(2), silently)
        assert path.read_text().count("\n") == 1

    def test_a_folder_that_cannot_be_written_is_an_error_of_the_run(self, tmp_path):
        log = RejectLog(tmp_path / "rejects.tsv", [], utterances=9)
        log.path.unlink()
        log.path.mkdir()
        with pytest.raises(RunError, match=r"Cannot write .*rejects\.tsv"):
            log.note(some(1), silently)

    def test_an_epoch_of_empty_batches_is_the_end(self, tmp_path):
        log = RejectLog(tmp_path / "rejects.tsv", [], utterances=4)
        log.note(some(4, "silent"), silently)
        for is_empty in (True, True, False, True, True):
            log.count_batch(is_empty=is_empty, batches_of_epoch=3)
        with pytest.raises(DataError, match=r"None of the 4 utterances can be used \(silent 4\)"):
            log.count_batch(is_empty=True, batches_of_epoch=3)
