from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from frame_stores import GivenFrames

from ssft.analysis.content import SampledPhones, phone_accuracy, speaker_accuracy
from ssft.analysis.findings import caveats, findings, unmeasured
from ssft.analysis.folder import RECORD, analysis_facts, refuse_foreign, save_analysis
from ssft.analysis.layer_page import QUALITY, RANKS, layer_page, layer_panels, layer_table
from ssft.analysis.layer_quality import USUAL, LayerQuality, layer_quality
from ssft.analysis.part import AUGMENTED, analysed_part
from ssft.analysis.pictures import HeatMap, Panel, heat_maps, layer_curves
from ssft.analysis.sample import FrameSample
from ssft.errors import DataError, RecipeError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.items import Segment
from ssft.types import Utterance

PHONES, DIM, LENGTH = 5, 16, 100
PNG = b"\x89PNG\r\n\x1a\n"


def corpus(speakers: int = 4, each: int = 6, *, labelled: bool = True) -> LabelledCorpus:
    """Every tenth of a second another phone, in the same order everywhere."""
    utterances = [
        Utterance(f"s{who}-{number}", Path("none.wav"), seconds=LENGTH / 50, speaker=f"s{who}" if labelled else None)
        for who in range(speakers)
        for number in range(each)
    ]
    phones = {
        utterance.id: [
            Segment(utterance.id, part / 10, (part + 1) / 10, f"P{(part * 7 + int(utterance.id[-1])) % PHONES}")
            for part in range(LENGTH // 5)
        ]
        for utterance in utterances
    }
    return LabelledCorpus("made", {"test": utterances}, phones=phones if labelled else {})


def frames(content: float, voice: float, *, seed: int = 0, noise: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sounds, voices = rng.standard_normal((PHONES, DIM)), rng.standard_normal((4, DIM))
    made = {}
    for utterance in corpus().splits["test"]:
        who, number = int(utterance.id[1]), int(utterance.id[-1])
        said = [(part * 7 + number) % PHONES for part in range(LENGTH // 5)]
        own = content * sounds[np.repeat(said, 5)] + voice * voices[who]
        made[utterance.id] = (own + noise * rng.standard_normal((LENGTH, DIM))).astype(np.float32)
    return made


def store(name: str = "made", **changed: dict[str, np.ndarray]) -> GivenFrames:
    """Layer 0 knows voices, layer 1 phones."""
    given = {("test", 0, "clean"): frames(0.1, 3.0), ("test", 1, "clean"): frames(3.0, 0.0)}
    given |= {("test", layer, "pitch_shift"): frames(1.0, 1.0, seed=1) for layer in (0, 1) if not changed}
    return GivenFrames(given, name=name)


def test_content_and_speaker_are_found_in_the_layers_that_have_them():
    low, high = layer_quality(corpus(), store(), clusters=20)
    assert not low.why.keys() - {"drift"}
    assert high.phone_accuracy > 0.9 > 0.5 > low.phone_accuracy
    assert low.speaker_accuracy > 0.9 > 0.7 > high.speaker_accuracy
    assert low.ranks.variance_between_utterances > 0.5 > 0.1 > high.ranks.variance_between_utterances
    assert low.values()["global_rank"] == low.ranks.global_rank
    assert high.values()["davies_bouldin"] == high.clusters.davies_bouldin
    said = findings({"made": {row.layer: row.values() for row in (low, high)}})
    assert said[0].startswith("Phones are told apart best in layer 1")
    assert said[1].startswith("Speakers are told apart best in layer 0")
    assert not any("removed" in sentence for sentence in said)


def test_without_labels_and_conditions_the_rest_is_measured_and_the_reasons_are_said():
    plain = GivenFrames({("test", 0, "clean"): frames(1.0, 1.0)})
    (row,) = layer_quality(corpus(labelled=False), plain, clusters=20)
    assert row.ranks
    assert row.clusters
    assert row.uniformity is not None
    assert row.phone_accuracy is row.speaker_accuracy is row.alignment is row.cosine_distance is None
    assert "no aligned phones" in row.why["phone_accuracy"]
    assert "no two known speakers" in row.why["speaker_accuracy"]
    assert "no base" in row.why["drift"]
    assert any("not heard in any other condition" in line for line in unmeasured([row]))


def test_only_what_is_asked_for_is_measured():
    for row in layer_quality(corpus(), store(), measures=["ranks"]):
        known = {name for name, value in row.values().items() if value is not None}
        assert known >= {"global_rank", "rankme_t"}
        assert not known & {"inertia", "uniformity", "alignment", "phone_accuracy"}
        assert row.why == {}
    with pytest.raises(RecipeError, match=r"no measure 'rank'.*'ranks'"):
        layer_quality(corpus(), store(), measures=["rank"])


def test_a_broken_layer_keeps_no_other_from_being_measured():
    broken = store()
    broken.given["test", 0, "clean"]["s0-0"][:] = np.nan
    low, high = layer_quality(corpus(), broken, clusters=20)
    assert low.ranks is low.clusters is low.uniformity is low.phone_accuracy is low.speaker_accuracy is None
    assert all("NaN" in low.why[name] for name in USUAL if name != "drift")
    assert high.ranks
    assert high.phone_accuracy


def test_constant_frames():
    constant = GivenFrames({("test", 0, "clean"): {u.id: np.ones((LENGTH, DIM)) for u in corpus().splits["test"]}})
    (row,) = layer_quality(corpus(), constant, base=constant, clusters=20)
    assert row.ranks.global_rank == pytest.approx(1, abs=1e-4)
    assert row.ranks.variance_between_utterances is None
    assert row.clusters.used_clusters == 1
    assert row.uniformity == pytest.approx(0, abs=1e-6)
    assert row.cosine_distance == pytest.approx(0, abs=1e-6)
    assert row.cka_distance is None
    assert "constant" in row.why["drift"]
    said = findings({"constant": {0: row.values()}})
    assert "**Collapsed**: frames of layer 0 use hardly more than one direction." in said


def test_one_utterance():
    whole = corpus()
    single = LabelledCorpus("one", {"test": whole.splits["test"][:1]}, phones=whole.phones)
    own = GivenFrames({("test", 0, "clean"): {"s0-0": frames(1.0, 1.0)["s0-0"]}})
    (row,) = layer_quality(single, own)
    assert row.ranks.rankme_t == pytest.approx(1, abs=1e-4)
    assert "1,024 clusters need at least as many frames, but there are 100" in row.why["clusters"]
    assert "two" in row.why["phone_accuracy"]
    assert row.uniformity is not None
    assert any("1 utterances are fewer" in line for line in findings({"one": {0: row.values()}}))


def test_layers_of_another_frame_rate_are_refused_with_a_remedy():
    given = {("test", 0, "clean"): frames(1.0, 1.0)}
    given["test", 1, "clean"] = {name: own[::2] for name, own in frames(1.0, 1.0).items()}
    with pytest.raises(DataError, match="another frame rate, with --layers"):
        layer_quality(corpus(), GivenFrames(given))


def test_drift_is_from_the_same_layer_of_the_base_on_the_same_frames():
    base = store("base")
    same = layer_quality(corpus(), store(), base=base, measures=["drift"])
    assert [row.cosine_distance for row in same] == pytest.approx([0, 0], abs=1e-6)
    assert [row.cka_distance for row in same] == pytest.approx([0, 0], abs=1e-6)
    assert "No layer has moved from the base." in findings({"made": {row.layer: row.values() for row in same}})
    moved = store()
    moved.given["test", 1, "clean"] = frames(3.0, 0.1, seed=5)
    low, high = layer_quality(corpus(), moved, base=base, measures=["drift"])
    assert low.cosine_distance < 1e-6 < 0.3 < high.cosine_distance
    fewer = GivenFrames({("test", 0, "clean"): frames(1.0, 1.0)}, name="shallow")
    assert "shallow has no layer 1" in layer_quality(corpus(), store(), base=fewer, measures=["drift"])[1].why["drift"]


def test_collapse_against_the_base_is_called_so():
    base = {0: {"global_rank": 100.0}, 1: {"global_rank": 100.0}}
    low = findings({"run": {0: {"global_rank": 99.0}, 1: {"global_rank": 29.0}}, "base": base})
    assert low == ["**Collapsed**: layer 1 has less than 30 % of the global rank of base."]
    fine = findings({"run": {0: {"global_rank": 99.0}, 1: {"global_rank": 31.0}}, "base": base})
    assert fine == ["No collapse: the global rank of every layer is 31 to 99 % of that of base."]


def test_the_split_augmented_is_heard_where_there_is_one():
    shorter = corpus()
    heard = shorter.splits["test"][:4]
    shorter = LabelledCorpus("made", {"test": shorter.splits["test"], AUGMENTED: heard})
    clean = frames(1.0, 1.0)
    given = {("test", 0, "clean"): clean, (AUGMENTED, 0, "pitch"): {one.id: clean[one.id] for one in heard}}
    (row,) = layer_quality(shorter, GivenFrames(given), measures=["alignment"])
    assert (row.alignment, row.moment_error) == (0.0, 0.0)


def test_phone_accuracy_is_of_speakers_that_were_not_trained_on():
    """Phones that only one speaker says cannot be known of the other."""
    rng = np.random.default_rng(0)
    phones = np.tile([0, 1], 200)
    own = np.stack([phones, 1 - phones], 1) + 0.01 * rng.standard_normal((400, 2))
    groups = np.repeat([0, 1], 200)
    assert phone_accuracy(own, SampledPhones(phones, groups, "speaker")) == 1.0
    assert phone_accuracy(own, SampledPhones(phones + 2 * groups, groups, "speaker")) == 0.0
    pauses = np.where(rng.random(400) < 0.5, -1, phones)
    assert phone_accuracy(np.where(pauses[:, None] < 0, 1e3, own), SampledPhones(pauses, groups, "speaker")) == 1.0
    with pytest.raises(DataError, match="two speakers"):
        phone_accuracy(own, SampledPhones(phones, np.zeros_like(groups), "speaker"))


def test_speaker_accuracy_needs_two_speakers_with_four_utterances():
    known = {name: own for name, own in frames(0.0, 3.0).items() if name[:2] in ("s0", "s1")}
    assert speaker_accuracy(corpus(), known) == 1.0
    del known["s1-0"], known["s1-1"], known["s1-2"]
    with pytest.raises(DataError, match="no two known speakers"):
        speaker_accuracy(corpus(), known)


def test_the_part_that_is_analysed():
    whole = LabelledCorpus("made", {"test": corpus().splits["test"], "train": corpus().splits["test"][:3]})
    seconds = LENGTH / 50
    part = analysed_part(whole, max_hours=10 * seconds / 3600 - 1e-6, augmented_hours=3 * seconds / 3600 - 1e-6)
    assert (len(part.splits["test"]), len(part.splits[AUGMENTED])) == (10, 3)
    assert {one.id for one in part.splits[AUGMENTED]} < {one.id for one in part.splits["test"]}
    assert "10 of 24 utterances" in part.notes[-1]
    backwards = LabelledCorpus("made", {"test": corpus().splits["test"][::-1]})
    again = analysed_part(backwards, max_hours=10 * seconds / 3600 - 1e-6)
    assert again.splits["test"] == part.splits["test"]
    assert len(analysed_part(whole, split="train").splits["test"]) == 3
    assert AUGMENTED not in analysed_part(whole).splits
    with pytest.raises(DataError, match=r"no split 'tran'.*'train'"):
        analysed_part(whole, split="tran")
    with pytest.raises(RecipeError, match="positive"):
        analysed_part(whole, max_hours=0)


def test_tables_show_both_systems_and_leave_out_what_nobody_has():
    figures = {
        "run": {0: {"phone_accuracy": 0.5, "global_rank": 101.4}, 1: {"phone_accuracy": None, "global_rank": 3.25}},
        "base": {0: {"phone_accuracy": 0.25, "global_rank": None}},
    }
    header, _, first, second = layer_table(figures, QUALITY).splitlines()
    assert [cell.strip() for cell in header.split("|")[1:-1]] == ["layer", "phones % ↑", "global rank"]
    assert [cell.strip() for cell in first.split("|")[1:-1]] == ["0", "50.0 (25.0)", "101"]
    assert [cell.strip() for cell in second.split("|")[1:-1]] == ["1", "-", "3.25"]
    panels = layer_panels(figures, QUALITY)
    assert [panel.title for panel in panels] == ["phones % ↑", "global rank"]
    assert panels[0].curves == {"run": {0: 50.0, 1: None}, "base": {0: 25.0}}
    page = layer_page(
        "Title", figures, QUALITY, picture="a.png", findings=["One."], unmeasured=["clusters: few"], notes=["Small."]
    )
    for text in ("# Title", "- One.", "(a.png)", "in brackets base", "clusters: few", "- Small."):
        assert text in page
    assert "## What could not be measured" not in layer_page("Title", figures, RANKS, picture="a.png")
    assert any("not layers or models with each other" in line for line in caveats(figures))


def test_pictures_are_png_whatever_is_missing():
    assert layer_curves([Panel("rank", {"a $x$": {0: 1.0, 1: None}, "b": {0: float("nan")}})], title="t").startswith(
        PNG
    )
    assert layer_curves([Panel("rank", {"a": {0: None}})], title="a long title " * 20).startswith(PNG)
    values = np.array([[0.1, np.nan], [1.0, 0.5]])
    assert heat_maps([HeatMap("CKA", values, [0, 1], [0, 1], "a", "b")] * 4, title="t").startswith(PNG)


def test_a_folder_keeps_what_is_foreign(tmp_path):
    facts = analysis_facts("ssft x", corpus(), [store()], {"seed": 0}, subject="layers of made", environment={"a": 1})
    record = {**facts, "values": [float("nan"), np.float32(1.5), np.arange(2), (None, "x")]}
    written = save_analysis(tmp_path / "out", record, "# Page\n", {"layers": PNG})
    assert json.loads((tmp_path / "out" / RECORD).read_text(encoding="utf-8")) == written
    assert written["values"] == [None, 1.5, [0, 1], [None, "x"]]
    assert list(written)[:8] == [
        *("version", "subject", "command", "made", "environment", "corpus", "systems", "settings")
    ]
    assert written["corpus"]["fingerprint"] == corpus().fingerprint
    assert (tmp_path / "out" / "layers.png").read_bytes() == PNG
    save_analysis(tmp_path / "out", record, "# Again\n")
    assert (tmp_path / "out" / "analysis.md").read_text(encoding="utf-8") == "# Again\n"
    with pytest.raises(DataError, match="holds another analysis: layers of made"):
        save_analysis(tmp_path / "out", {**record, "subject": "rank of made"}, "")
    for content in ("{}", "no json"):
        (tmp_path / "out" / RECORD).write_text(content)
        with pytest.raises(DataError, match="no analysis of ssft"):
            refuse_foreign(tmp_path / "out", "layers of made")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="something else"):
        refuse_foreign(tmp_path / "file", "layers of made")


def test_the_same_frames_of_every_system():
    sample = FrameSample([frames(1.0, 1.0)], most_frames=500)
    one = layer_quality(corpus(), store(), sample=sample, clusters=20, measures=["clusters"])
    two = layer_quality(corpus(), store(), sample=sample, clusters=20, measures=["clusters"])
    assert one == two
    assert isinstance(one[0], LayerQuality)
    assert one[0].clusters.clustered_frames == sample.count
