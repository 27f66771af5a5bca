"""Labelled corpora from disk: every layout, splits without shared speakers, and exact counts of what is left out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from ssft.errors import DataError, RecipeError
from ssft.evaluation.corpora import open_corpus, read_description
from ssft.evaluation.corpora.description import shipped_descriptions
from ssft.evaluation.corpora.text_grids import parse_text_grid
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.items import Item, Segment
from ssft.evaluation.search_task import Query


def noise(path: Path, seconds: float = 1.0, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)), rate)


def table(path: Path, header: str, rows: Sequence[Sequence[object]]) -> None:
    path.write_text("\n".join([header.replace(" ", "\t"), *("\t".join(map(str, row)) for row in rows)]) + "\n")


@pytest.fixture
def make_folder(tmp_path) -> Callable[..., Path]:
    """`make_folder({"train": {"kim": 2}})` makes a folder with a manifest: so many utterances of each speaker."""

    def make(splits: dict[str, dict[str, int]], text: str = "two words", name: str = "corpus") -> Path:
        rows = []
        for split, speakers in splits.items():
            for speaker, count in speakers.items():
                for number in range(count):
                    rows.append((f"{split}-{speaker}-{number}.wav", speaker, text, split))
                    noise(tmp_path / name / rows[-1][0])
        table(tmp_path / name / "manifest.tsv", "path speaker text split", rows)
        return tmp_path / name

    return make


def ids(corpus: LabelledCorpus) -> dict[str, list[str]]:
    return {name: [utterance.id for utterance in own] for name, own in corpus.splits.items()}


def check_no_speaker_is_in_two_splits(corpus: LabelledCorpus) -> None:
    for one, other in combinations(corpus.splits, 2):
        assert not set(corpus.speakers(one).values()) & set(corpus.speakers(other).values())
        assert not set(ids(corpus)[one]) & set(ids(corpus)[other])


def test_demo(tmp_path):
    corpus = open_corpus("demo")
    assert {name: len(own) for name, own in corpus.splits.items()} == {"train": 286, "dev": 22, "test": 180}
    assert set(corpus.phones) == set(corpus.words) == set(ids(corpus)["test"])
    assert corpus.words["heldout/f1/000.opus"][:2] == [
        Segment("heldout/f1/000.opus", 0.112, 0.205, "the"),
        Segment("heldout/f1/000.opus", 0.205, 0.602, "teacher"),
    ]
    assert corpus.name == "demo"
    assert "synthetic" in corpus.notes[0]
    assert corpus.skipped == {}
    check_no_speaker_is_in_two_splits(corpus)
    (tmp_path / "mine.yaml").write_text("name: mine\naudio: demo\n")
    assert open_corpus(tmp_path / "mine.yaml").fingerprint == corpus.fingerprint


def test_speechocean(shared_speech):
    corpus = open_corpus(shared_speech / "speechocean762_train")
    assert {name: len(set(corpus.speakers(name).values())) for name in corpus.splits} == {
        "train": 94,
        "dev": 10,
        "test": 21,
    }
    assert len(corpus.splits["test"]) == 420
    assert (
        len(corpus.segments("phones", "test"))
        + len(corpus.segments("phones", "train"))
        + len(corpus.segments("phones", "dev"))
        == sum(1 for _ in (shared_speech / "speechocean762_train" / "alignments.tsv").open()) - 1
    )
    assert " ".join(corpus.pronunciations["audio/000010011.opus"]) == "W IY0 K AO0 L IH0 T B EH0 R"
    assert corpus.transcripts["audio/000010011.opus"] == "WE CALL IT BEAR"
    assert "machine-made" in corpus.notes[0]
    assert corpus.skipped == {}
    check_no_speaker_is_in_two_splits(corpus)


@pytest.mark.parametrize(("name", "test_speakers"), [("fsdd", 2), ("ljspeech_141", 1), ("librivox_bits", 2)])
def test_other_shared_corpora(shared_speech, name, test_speakers):
    corpus = open_corpus(shared_speech / name)
    assert corpus.name == name
    assert len(set(corpus.speakers().values())) == test_speakers
    check_no_speaker_is_in_two_splits(corpus)
    if name == "fsdd":
        word = corpus.words["audio/0_lucas_0.opus"]
        assert word == [Segment("audio/0_lucas_0.opus", 0.0, word[0].end, "zero")]
        assert any("one word" in note for note in corpus.notes)


def test_every_shipped_description_can_be_read(tmp_path):
    for name, path in shipped_descriptions().items():
        settings = yaml.safe_load(path.read_text())
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"audio": "x", **settings}))
        assert read_description(tmp_path / f"{name}.yaml").notes


@pytest.mark.parametrize(
    ("splits", "found"),
    [
        ({"train": {"a": 1, "b": 1, "c": 1}, "dev": {"d": 2}}, {"train": 2, "dev": 1, "test": 2}),
        ({"train": {"a": 1, "b": 1}, "heldout": {"d": 2}}, {"train": 1, "dev": 1, "test": 2}),
        ({"train": {"a": 1}, "dev": {"b": 2}, "test": {"c": 3}}, {"train": 1, "dev": 2, "test": 3}),
        (
            {"train": {"a": 1}, "dev": {"b": 2}, "test": {"c": 3}, "x": {"d": 4}},
            {"train": 1, "dev": 2, "test": 3, "x": 4},
        ),
        ({"train": {"a": 4, "b": 4}, "test": {"c": 3}}, {"train": 4, "dev": 4, "test": 3}),
        ({"dev": {"b": 2}, "test": {"c": 3}}, {"dev": 2, "test": 3}),
        ({"train": {"a": 3, "b": 2}}, {"test": 5}),
        ({"": {"a": 3, "b": 2}}, {"test": 5}),
    ],
)
def test_splits_follow_from_those_of_the_audio(make_folder, splits, found):
    corpus = open_corpus(make_folder(splits))
    assert {name: len(own) for name, own in corpus.splits.items()} == found
    check_no_speaker_is_in_two_splits(corpus)


def test_dev_is_one_speaker_in_ten_and_stays_the_same(make_folder):
    first = open_corpus(make_folder({"train": {f"s{n:02d}": 2 for n in range(20)}, "test": {"t": 1}}))
    fewer = open_corpus(make_folder({"train": {f"s{n:02d}": 1 for n in range(19)}, "test": {"t": 1}}, name="fewer"))
    speakers = set(first.speakers("dev").values())
    assert len(speakers) == 2
    assert len(first.splits["dev"]) == 4
    assert len(set(fewer.speakers("dev").values()) & speakers) >= 1
    check_no_speaker_is_in_two_splits(first)


def test_dev_is_made_of_utterances_where_speakers_are_not_told_apart(make_folder):
    corpus = open_corpus(make_folder({"train": {"unknown": 30}, "test": {"t": 1}}))
    assert {name: len(own) for name, own in corpus.splits.items()} == {"train": 27, "dev": 3, "test": 1}
    assert any("not told apart" in note for note in corpus.notes)
    assert corpus.speakers("train") == {}


def test_speakers_in_two_splits_of_the_source_are_said(make_folder):
    corpus = open_corpus(make_folder({"train": {"a": 2, "b": 2}, "dev": {"c": 1}, "test": {"a": 1, "b": 1}}))
    assert "2 speakers are in both train and test." in corpus.notes


def test_splits_that_do_not_say_what_they_are_for(make_folder):
    folder = make_folder({"one": {"a": 2}, "two": {"b": 2}})
    with pytest.raises(DataError, match=r"has the splits one, two, and none is called test.*splits: \{test: two\}"):
        open_corpus(folder)
    assert {name: len(own) for name, own in open_corpus(folder, splits={"test": "two"}).splits.items()} == {"test": 2}


def test_one_recording_in_two_splits_is_refused(make_folder):
    folder = make_folder({"train": {"a": 2}, "test": {"b": 1}})
    with (folder / "manifest.tsv").open("a") as file:
        file.write("train-a-0.wav\ta\tx\ttest\n")
    with pytest.raises(DataError, match=r"train-a-0.wav is in the splits test and train"):
        open_corpus(folder)


def test_the_order_of_rows_does_not_matter(make_folder):
    folder = make_folder({"train": {f"s{n}": 2 for n in range(12)}, "dev": {"t": 3, "u": 3}})
    segments = [(f"dev-t-{n}.wav", start / 10, start / 10 + 0.1, f"p{start}") for n in range(3) for start in range(9)]
    table(folder / "alignments.tsv", "path start_s end_s phone", segments)
    first = open_corpus(folder)
    for name in ("manifest.tsv", "alignments.tsv"):
        header, *rows = (folder / name).read_text().splitlines()
        random.Random(1).shuffle(rows)
        (folder / name).write_text("\n".join([header, *rows]) + "\n\n")
    second = open_corpus(folder)
    assert first.fingerprint == second.fingerprint
    assert ids(first) == ids(second)
    assert first.phones == second.phones
    assert [segment.label for segment in second.phones["dev-t-1.wav"]] == [f"p{n}" for n in range(9)]


def test_labels_that_cannot_be_are_left_out_and_counted(make_folder):
    folder = make_folder({"test": {"a": 3}})
    good = "test-a-0.wav"
    (folder / "broken.wav").write_text("This is no audio.")
    with (folder / "manifest.tsv").open("a") as file:
        file.write("broken.wav\ta\tx\ttest\nmissing.wav\ta\tx\ttest\n" + "unsplit.wav\ta\tx\t\n")
    rows = [
        (good, 0.9, 1.04, "end"),
        (good, 0.0, 0.1, "first"),
        (good, 0.0, 0.1, "first"),
        (good, 0.1, 0.1, "none"),
        (good, 0.2, 0.1, "back"),
        (good, "nan", 0.1, "nan"),
        (good, -0.1, 0.1, "before"),
        (good, 0.5, 0.6, ""),
        (good, 0.5, 0.6, " "),
        (good, 0.9, 1.0401, "late"),
        ("gone.wav", 0.5, 0.6, "gone"),
        ("broken.wav", 0.5, 0.6, "gone"),
    ]
    table(folder / "alignments.tsv", "path start_s end_s phone", rows)
    table(
        folder / "words.tsv",
        "path start_s end_s word",
        [(good, 0, 1, "word"), (good, 0, 0.1, "sil"), (good, 0, 1, "<unk>")],
    )
    table(
        folder / "phones.tsv",
        "path anything",
        [(good, "W IY0 | K"), (good, "B"), ("test-a-1.wav", ""), ("gone.wav", "B")],
    )
    corpus = open_corpus(folder)
    assert [segment.label for segment in corpus.phones[good]] == ["first", "end"]
    assert [segment.label for segment in corpus.words[good]] == ["word"]
    assert corpus.pronunciations == {good: ("W", "IY0", "K")}
    assert corpus.skipped == {
        "recordings: the file cannot be decoded": 1,
        "recordings: there is no such file": 1,
        "recordings: the manifest says no split": 1,
        "phones listed twice": 1,
        "phones that end before they begin": 4,
        "phones without a label": 2,
        "phones past the end of the audio": 1,
        "phones of utterances that are not there": 2,
        "words that are pauses, or that the aligner did not know": 2,
        "pronunciations listed twice": 1,
        "pronunciations without a text": 1,
        "pronunciations of utterances that are not there": 1,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\tstart_s\tend_s\tphone\nother.wav\t0\t1\tx\n", r"has e.g. 'other.wav', the corpus e.g. 'test-a-0.wav'"),
        ("path\tstart_s\tend_s\tphone\n", "holds nothing"),
        ("path\tstart_s\tend_s\tx\ty\n", "no column 'phone' for phones; found: path, start_s, end_s, x, y"),
        ("path\tstart\tend\tphone\n", "no column 'start_s'"),
        ("path\tstart_s\tend_s\tphone\ntest-a-0.wav\t0\tx\tp\n", "line 2: '0' or 'x' is not a time"),
        ("path\tstart_s\tend_s\tphone\ntest-a-0.wav\t0\n", "line 2: 2 columns"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(make_folder, text, message):
    folder = make_folder({"test": {"a": 1}})
    (folder / "alignments.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_corpus(folder)


def test_audio_without_a_manifest_is_all_test(tmp_path):
    noise(tmp_path / "a" / "x.wav")
    noise(tmp_path / "b" / "x.wav")
    corpus = open_corpus(tmp_path)
    assert ids(corpus) == {"test": ["a/x.wav", "b/x.wav"]}
    assert corpus.words == corpus.phones == corpus.transcripts == {}
    with pytest.raises(DataError, match="does not exist"):
        open_corpus(tmp_path / "nowhere")


def test_limited(make_folder):
    corpus = open_corpus(make_folder({"train": {f"s{n}": 4 for n in range(10)}, "dev": {"d": 2}, "test": {"t": 2}}))
    ten, twenty = (corpus.limited(train_hours=seconds / 3600) for seconds in (10, 20))
    assert len(ten.splits["train"]) == 10
    assert set(ids(ten)["train"]) < set(ids(twenty)["train"]) < set(ids(corpus)["train"])
    assert ids(ten)["train"] == sorted(ids(ten)["train"])
    assert all(ten.splits[name] == corpus.splits[name] for name in ("dev", "test"))
    assert ten.notes[-1] == "Training uses 0.00 h of train: 10 of 40 utterances."
    assert corpus.limited(train_hours=1) is corpus
    for bad in (0, -1, float("nan")):
        with pytest.raises(RecipeError, match="must be positive"):
            corpus.limited(train_hours=bad)


# Descriptions


def test_a_description_says_everything(make_folder):
    folder = make_folder({"a": {"kim": 2, "lee": 1}, "b": {"joe": 2}})
    table(folder / "p.tsv", "path start_s end_s label score", [("a-kim-0", 0, 0.5, "AA", 1)])
    table(folder / "said.tsv", "path said", [("a-kim-0.wav", "'Tis CAT, again!"), ("b-joe-0.wav", "a dog")])
    (folder / "lexicon.txt").write_text("'TIS  T IH Z\nCAT K AE T\nCAT(2) K\nA AH0\nAGAIN G EH N\nAGAIN B\n;;; DOG D\n")
    (folder / "x.item").write_text("#file onset offset #phone prev-phone next-phone speaker\na-lee-0 0 0.1 A B C lee\n")
    description = {
        "name": "mine",
        "audio": "manifest.tsv",
        "splits": {"train": "a", "dev": {"split": "a", "speakers": ["lee"]}, "test": {"split": "b"}},
        "phones": {"file": "p.tsv", "column": "label"},
        "words": "transcripts",
        "transcripts": "said.tsv",
        "lexicon": "lexicon.txt",
        "items": ["x.item"],
        "notes": ["Made up."],
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(description))
    corpus = open_corpus(path)
    assert ids(corpus) == {
        "train": ["a-kim-0.wav", "a-kim-1.wav"],
        "dev": ["a-lee-0.wav"],
        "test": ["b-joe-0.wav", "b-joe-1.wav"],
    }
    assert corpus.phones == {"a-kim-0.wav": [Segment("a-kim-0.wav", 0.0, 0.5, "AA")]}
    assert corpus.words["b-joe-0.wav"] == [Segment("b-joe-0.wav", 0.0, 1.0, "a dog")]
    assert corpus.pronunciations == {"a-kim-0.wav": ("T", "IH", "Z", "K", "AE", "T", "G", "EH", "N")}
    assert corpus.items == {"x": [Item("a-lee-0.wav", 0.0, 0.1, "A", ("B", "C"), "lee")]}
    assert corpus.notes[0] == "Made up."
    assert corpus.skipped == {
        "words that are not in the lexicon": 1,
        "utterances without a pronunciation, for such a word": 1,
    }
    check_no_speaker_is_in_two_splits(corpus)
    assert {key: value for key, value in asdict(read_description(path)).items() if value} == description
    (folder / "corpus.yaml").write_text(path.read_text())
    assert ids(open_corpus(folder)) == ids(corpus)


def test_splits_of_different_folders_may_share_names(tmp_path):
    for split in ("train", "dev", "test"):
        noise(tmp_path / "audio" / split / "0.wav")
    table(tmp_path / "w.tsv", "path start_s end_s word", [("test/0.wav", 0, 1, "x")])
    settings = {"name": "x", "splits": {s: {"audio": f"audio/{s}"} for s in ("train", "dev", "test")}, "words": "w.tsv"}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(settings))
    corpus = open_corpus(tmp_path / "x.yaml")
    assert ids(corpus) == {"train": ["train/0.wav"], "dev": ["dev/0.wav"], "test": ["test/0.wav"]}
    assert list(corpus.words) == ["test/0.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\naudio: .\nphonse: a.tsv\n", r"x.yaml has no setting 'phonse'. Did you mean 'phones'\?"),
        ("audio: .\n", "x.yaml needs a value for name"),
        ("name: x\n", "x.yaml: give audio, or splits"),
        (
            "name: x\naudio: .\nsplits: {test: {speeker: [a]}}\n",
            r"x.yaml: splits.test has no setting 'speeker'.*'speakers'",
        ),
        ("name: x\naudio: .\nphones: {fil: a.tsv}\n", r"x.yaml: phones has no setting 'fil'.*'file'"),
        ("name: x\naudio: .\nlexicon: a\npronunciations: b\n", "x.yaml: give pronunciations or a lexicon, not both"),
        ("name: x\naudio: .\nitems: 3\n", "x.yaml.items: 3 is not"),
        ("name: x\naudio: .\nsplits: {test: {speakers: [kin]}}\n", "no speaker 'kin'"),
        ("- x\n", "is no description of a corpus"),
        ("name: [\n", "cannot be read"),
    ],
)
def test_bad_descriptions_are_refused(tmp_path, text, message):
    noise(tmp_path / "a.wav")
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises((DataError, RecipeError), match=message):
        open_corpus(tmp_path / "x.yaml")


# LibriSpeech

SHORT_GRID = """File type = "ooTextFile short"
"TextGrid"

0
1
<exists>
2
"IntervalTier"
"words"
0
1
2
0
0.3
""
0.3
1
"say ""hi"" 2"
"TextTier"
"events"
0
1
1
0.5
"click"
"""


def long_grid(tiers: dict[str, list[tuple[float, float, str]]]) -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", "xmax = 1 ", "tiers? <exists> "]
    lines += [f"size = {len(tiers)} ", "item []: "]
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ', f'        name = "{name}" ']
        lines += ["        xmin = 0 ", "        xmax = 1 ", f"        intervals: size = {len(intervals)} "]
        for place, (start, end, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{place}]:", f"            xmin = {start} ", f"            xmax = {end} "]
            lines += [f'            text = "{text}" ']
    return "\n".join(lines) + "\n"


@pytest.fixture
def librispeech(tmp_path) -> Path:
    """The three parts that SUPERB uses, of a few chapters."""
    root = tmp_path / "down" / "LibriSpeech"
    texts = {
        "train-clean-100/103/1240": ["CHAPTER ONE", "THE CAT"],
        "train-clean-100/1034/121119": ["THE ZYZZYVA"],
        "dev-clean/84/121123": ["THE CAT", "ONE"],
        "test-clean/61/70968": ["CAT"],
        "test-other/1688/142285": ["THE"],
    }
    for place, said in texts.items():
        chapter = "-".join(place.split("/")[1:])
        for number in range(len(said)):
            noise(root / place / f"{chapter}-{number:04d}.flac")
        lines = [f"{chapter}-{number:04d} {text}\n" for number, text in enumerate(said)]
        (root / place / f"{chapter}.trans.txt").write_text("".join(lines))
    (root / "README.TXT").write_text("LibriSpeech")
    (tmp_path / "lexicon.txt").write_text("CAT\tK AE1 T\nCAT\tK\nTHE DH AH0\nONE W AH1 N\nCHAPTER CH\n")
    return root


def test_librispeech(librispeech, tmp_path):
    grids = tmp_path / "grids"
    grid = {"words": [(0, 0.5, "the"), (0.5, 0.8, "<unk>"), (0.8, 1.0, "")], "phones": [(0, 0.5, "DH"), (0.5, 1.0, "")]}
    for name, content in {
        "test-clean/61/70968/61-70968-0000": long_grid(grid).encode("utf-16"),
        "dev-clean/84/121123/84-121123-0000": long_grid({f"84 - {tier}": own for tier, own in grid.items()}).encode(),
        "dev-clean/84/121123/84-121123-0001": b"nothing",
        "dev-other/9/9/9-9-0000": b"not looked at",
    }.items():
        (grids / name).parent.mkdir(parents=True, exist_ok=True)
        (grids / f"{name}.TextGrid").write_bytes(content)
    items = tmp_path / "dev-clean.item"
    items.write_text("#file onset offset #phone prev-phone next-phone speaker\n84-121123-0000 0.0 0.5 DH SIL AH 84\n")
    corpus = open_corpus(librispeech.parent, lexicon=tmp_path / "lexicon.txt", alignments=grids, items=[items])
    test, dev = "61/70968/61-70968-0000.flac", "84/121123/84-121123-0000.flac"
    assert ids(corpus) == {
        "train": ["103/1240/103-1240-0000.flac", "103/1240/103-1240-0001.flac", "1034/121119/1034-121119-0000.flac"],
        "dev": [dev, "84/121123/84-121123-0001.flac"],
        "test": [test],
    }
    assert corpus.name == "LibriSpeech"
    assert corpus.speakers("dev") == dict.fromkeys(ids(corpus)["dev"], "84")
    assert corpus.transcripts[dev] == "THE CAT"
    assert corpus.pronunciations[dev] == ("DH", "AH0", "K", "AE1", "T")
    assert set(corpus.transcripts) - set(corpus.pronunciations) == {"1034/121119/1034-121119-0000.flac"}
    assert corpus.phones == {u: [Segment(u, 0.0, 0.5, "DH"), Segment(u, 0.5, 1.0, "SIL")] for u in (test, dev)}
    assert corpus.words == {u: [Segment(u, 0.0, 0.5, "the")] for u in (test, dev)}
    assert corpus.items == {"dev-clean": [Item(dev, 0.0, 0.5, "DH", ("SIL", "AH"), "84")]}
    assert "machine-made" in corpus.notes[0]
    assert corpus.skipped == {
        "words that are not in the lexicon": 1,
        "utterances without a pronunciation, for such a word": 1,
        "TextGrids of utterances that are not there": 1,
        "TextGrids that cannot be read": 1,
        "words that are pauses, or that the aligner did not know": 2,
    }
    check_no_speaker_is_in_two_splits(corpus)


def test_librispeech_with_what_lies_beside_it_and_other_parts(librispeech, tmp_path):
    (tmp_path / "lexicon.txt").rename(librispeech / "librispeech-lexicon.txt")
    table(librispeech / "words.tsv", "path start_s end_s word", [("1688-142285-0000", 0, 1, "the")])
    corpus = open_corpus(librispeech, splits={"test": "test-other"})
    name = "1688/142285/1688-142285-0000.flac"
    assert ids(corpus) == {"test": [name]}
    assert corpus.pronunciations == {name: ("DH", "AH0")}
    assert [word.label for word in corpus.words[name]] == ["the"]
    part = open_corpus(librispeech / "dev-clean")
    assert ids(part) == {"test": ["84/121123/84-121123-0000.flac", "84/121123/84-121123-0001.flac"]}
    with pytest.raises(DataError, match="has no part 'dev-other' for dev; it has dev-clean, test-clean, test-other"):
        open_corpus(librispeech, splits={"dev": "dev-other", "test": "test-clean"})


def test_a_lexicon_of_another_language_is_refused(librispeech, tmp_path):
    (tmp_path / "other.txt").write_text("KATZE k a ts @\n")
    with pytest.raises(DataError, match=r"fits no utterance. It has no 'CAT'; it has e.g. 'KATZE'"):
        open_corpus(librispeech, lexicon=tmp_path / "other.txt")
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(DataError, match="holds no words"):
        open_corpus(librispeech, lexicon=tmp_path / "empty.txt")


def test_text_grids_of_other_audio_or_without_such_tiers_are_refused(librispeech, tmp_path):
    (tmp_path / "grids").mkdir()
    with pytest.raises(DataError, match="holds nothing"):
        open_corpus(librispeech, alignments=tmp_path / "grids")
    (tmp_path / "grids" / "1-2-3.TextGrid").write_text(SHORT_GRID)
    with pytest.raises(DataError, match=r"has e.g. '1-2-3', the corpus e.g. '103/1240/103-1240-0000.flac'"):
        open_corpus(librispeech, alignments=tmp_path / "grids")
    (tmp_path / "grids" / "61-70968-0000.TextGrid").write_text(long_grid({"text": [(0, 1, "x")]}))
    with pytest.raises(DataError, match="its tiers are text; needed are phones or words"):
        open_corpus(librispeech, alignments=tmp_path / "grids")
    with pytest.raises(DataError, match="is no folder"):
        open_corpus(librispeech, alignments=tmp_path / "nowhere")


def test_both_formats_of_text_grids():
    assert (
        parse_text_grid(SHORT_GRID)
        == parse_text_grid(SHORT_GRID.replace(" short", ""))
        == {
            "words": [(0.0, 0.3, ""), (0.3, 1.0, 'say "hi" 2')],
            "events": [],
        }
    )
    tiers = {"words": [(0.0, 1e-05, "2"), (1e-05, 1.0, "don't [3]: = 4")], "phones": []}
    assert parse_text_grid(long_grid(tiers)) == tiers
    whole = SHORT_GRID.splitlines()
    for lines in (5, 8, 12, 15, 18, 20, 24):
        with pytest.raises(ValueError, match="ends too early"):
            parse_text_grid("\n".join(whole[:lines]))
    with pytest.raises(ValueError, match="does not begin as a TextGrid"):
        parse_text_grid(SHORT_GRID.replace("TextGrid", "PitchTier"))


# QUESST 2014


@pytest.fixture
def quesst(tmp_path) -> Path:
    root = tmp_path / "quesst14Database"
    files = {
        "utterances": ("Audio/quesst14_{:05d}.wav", 6),
        "dev": ("dev_queries/quesst14_dev_{:04d}.wav", 4),
        "eval": ("eval_queries/quesst14_eval_{:04d}.wav", 2),
    }
    for key, (pattern, count) in files.items():
        lines = []
        for number in range(1, count + 1):
            name = pattern.format(number)
            noise(root / name, rate=8_000)
            lines.append(f"quesst14Database/{name} {'albanian' if number % 2 == 0 else 'nnenglish'}\n")
        (root / "scoring").mkdir(exist_ok=True)
        (root / "scoring" / f"language_key_{key}.lst").write_text("".join(lines))
    answers = {
        "dev": [(1, 1), (3, 1), (2, 1), (3, 1), (2, 2), (5, 3), (99999, 3)],
        "eval": [(5, 1), (1, 1)],
    }
    for name, pairs in answers.items():
        folder = root / "scoring" / f"groundtruth_quesst14_{name}"
        folder.mkdir()
        lines = ["SPKR-INFO quesst14_00001 1 <NA> <NA> <NA> unknown <NA> <NA>"]
        lines += [
            f"LEXEME quesst14_{document:05d} 1 0.0 1.0 quesst14_{name}_{query:04d} lex <NA> <NA>"
            for document, query in pairs
        ]
        (folder / f"quesst14_{name}.rttm").write_text("\n".join(lines) + "\n")
    return root


def test_quesst(quesst):
    corpus = open_corpus(quesst)
    audio = "Audio/quesst14_{:05d}.wav".format
    assert ids(corpus) == {
        "test": [audio(1), audio(3), audio(5)],
        "dev_queries": ["dev_queries/quesst14_dev_0001.wav", "dev_queries/quesst14_dev_0003.wav"],
        "eval_queries": ["eval_queries/quesst14_eval_0001.wav"],
    }
    dev, evaluation = corpus.searches
    assert (dev.name, dev.query_split, dev.document_split) == ("dev", "dev_queries", "test")
    assert dev.queries == [
        Query(f"quesst14_dev_{n:04d}", f"quesst14_dev_{n:04d}", f"dev_queries/quesst14_dev_{n:04d}.wav") for n in (1, 3)
    ]
    assert dev.documents == ids(corpus)["test"]
    assert dev.relevant == {
        "quesst14_dev_0001": frozenset({audio(1), audio(3)}),
        "quesst14_dev_0003": frozenset({audio(5)}),
    }
    assert evaluation.relevant == {"quesst14_eval_0001": frozenset({audio(1), audio(5)})}
    assert corpus.name == "QUESST 2014, nnenglish"
    assert corpus.skipped == {"answers in recordings that are not there": 2}
    assert corpus.speakers() == {}


def test_quesst_in_all_languages_and_from_the_folder_above(quesst):
    corpus = open_corpus(quesst.parent, language=None)
    assert {name: len(own) for name, own in corpus.splits.items()} == {"test": 6, "dev_queries": 4, "eval_queries": 2}
    assert corpus.skipped == {"answers in recordings that are not there": 1}
    assert len(corpus.searches[0].relevant["quesst14_dev_0001"]) == 3


def test_quesst_without_some_of_its_files(quesst):
    (quesst / "Audio" / "quesst14_00005.wav").unlink()
    (quesst / "dev_queries" / "quesst14_dev_0003.wav").write_bytes(b"")
    corpus = open_corpus(quesst, language=None)
    assert corpus.skipped == {
        "recordings: there is no such file": 1,
        "recordings: the file holds no samples": 1,
        "answers in recordings that are not there": 1,
    }
    assert [query.id for query in corpus.searches[0].queries] == [f"quesst14_dev_{n:04d}" for n in (1, 2, 4)]
    with pytest.raises(DataError, match=r"no recordings in 'english'. Did you mean 'nnenglish'"):
        open_corpus(quesst, language="english")
    with pytest.raises(DataError, match="takes no lexicon"):
        open_corpus(quesst, splits={"test": "Audio"})
    rttm = quesst / "scoring" / "groundtruth_quesst14_dev" / "quesst14_dev.rttm"
    rttm.write_text("LEXEME quesst14_00001 1 0 1 another lex <NA> <NA>\n")
    with pytest.raises(DataError, match="no answer to any of the"):
        open_corpus(quesst)
    rttm.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        open_corpus(quesst)
