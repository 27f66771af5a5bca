"""What the recognition probes promise: they learn what is there, decode and count right, and say what they left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from frame_stores import GivenFrames
from hypothesis import given
from hypothesis import strategies as st
from oracles.edit_distance import edit_distance

from ssft.components import construct
from ssft.errors import DataError, RecipeError
from ssft.evaluation.corpus import LabelledCorpus
from ssft.evaluation.error_counts import count_errors
from ssft.evaluation.items import Segment
from ssft.evaluation.measure import Score
from ssft.evaluation.probe import PhoneRecognition, SpeechRecognition
from ssft.evaluation.probe.examples import Examples, frames_needed
from ssft.evaluation.probe.model import LinearHead, ProbeModel, RecurrentHead
from ssft.evaluation.probe.recognition import Heard, TrainedProbe, listen
from ssft.evaluation.probe.targets import ENGLISH_LETTERS, letters_of, phones_of, spelt, words_in
from ssft.evaluation.probe.training import ctc_loss
from ssft.evaluation.probe.vocabulary import Vocabulary
from ssft.types import Utterance

PHONES = ("AA0", "B", "D", "IY1", "S")
LETTERS = ("A", "B", "'", "Z", "|")
DIM = 12
PR = PhoneRecognition(updates=60, batch_seconds=8, lr=0.05, warmup_updates=5, evaluate_every=20)
ASR = SpeechRecognition(updates=40, batch_seconds=8, lr=0.02, warmup_updates=5, evaluate_every=20, hidden=24)
OVERFIT = {
    "pr": replace(PR, updates=200),
    "asr": replace(ASR, updates=300, batch_seconds=2, evaluate_every=150, dropout=0.0),
}


def spoken(symbols: list[str], known: tuple[str, ...], rng: np.random.Generator, *, noise: float = 0.1) -> np.ndarray:
    """Frames [F, DIM]: each symbol for three frames in a direction of its own, and a pause of two behind it."""
    numbers = [number for symbol in symbols for number in (*[known.index(symbol)] * 3, *[len(known)] * 2)]
    return np.eye(DIM)[numbers] + noise * rng.standard_normal((len(numbers), DIM))


class Speech:
    """A corpus of made-up speech in which every symbol has its own direction, and frames of it in three layers."""

    def __init__(self, *, train: int = 10, dev: int = 4, test: int = 6, kind: str = "pr", noise: float = 0.1) -> None:
        rng = np.random.default_rng(0)
        known = PHONES if kind == "pr" else LETTERS
        sizes = {"train": train, "dev": dev, "test": test}
        self.splits: dict[str, list[Utterance]] = {}
        self.said: dict[str, list[str]] = {}
        self.given: dict[tuple[str, int, str], dict[str, np.ndarray]] = {}
        for split, size in sizes.items():
            self.splits[split] = []
            for number in range(size):
                name = f"{split}-{number}"
                inner = rng.choice(len(known), size=rng.integers(2, 7))
                said = [known[index] for index in inner]
                if kind == "asr":
                    said = spelt(["A", *said, "B"])
                self.said[name] = said
                frames = spoken(said, known, rng, noise=noise)
                for layer in range(3):
                    mixed = frames if layer == 1 else rng.standard_normal(frames.shape)
                    self.given.setdefault((split, layer, "clean"), {})[name] = mixed
                    if split == "test":
                        noisy = frames + 0.7 * rng.standard_normal(frames.shape)
                        self.given.setdefault((split, layer, "noise"), {})[name] = noisy
                speaker = f"{split} {number % 3}"
                self.splits[split].append(Utterance(name, Path(name), len(frames) / 50, speaker=speaker))
        self.labels: dict[str, Any] = (
            {"pronunciations": self.said}
            if kind == "pr"
            else {"transcripts": {name: "".join(said).replace("|", " ") for name, said in self.said.items()}}
        )

    @property
    def corpus(self) -> LabelledCorpus:
        return LabelledCorpus("made up", self.splits, **self.labels)

    def store(self, *layers: int) -> GivenFrames:
        chosen = layers or (0, 1, 2)
        return GivenFrames({key: frames for key, frames in self.given.items() if key[1] in chosen})


def values(scores: list[Score]) -> dict[tuple[str, int | None, str], list[float]]:
    return {score.key[1:]: [measure.value for measure in score.measures] for score in scores}


def first(speech: Speech) -> Score:
    """The phone error rate of layer 1."""
    return next(replace(PR, layers="last").scores(speech.corpus, speech.store(1)))


# Decoding


def test_decoding_joins_repetitions_and_drops_blanks():
    vocabulary = Vocabulary(("a", "b"))
    assert vocabulary.decode(np.array([0, 1, 1, 0, 1, 2, 2, 0, 0, 2])) == ["a", "a", "b", "b"]
    assert vocabulary.decode(np.array([1, 1, 2])) == ["a", "b"]
    assert vocabulary.decode(np.array([0, 0])) == []
    assert vocabulary.decode(np.array([], dtype=np.int64)) == []


def test_a_blank_penalty_uncovers_what_is_below_the_blank():
    vocabulary = Vocabulary(("a", "b"))
    heard = Heard(np.array([1, 2, 2]), np.array([-1.0, 0.4, 3.0], dtype=np.float32))
    assert heard.decode(vocabulary, blank_penalty=0.0) == ["a"]
    assert heard.decode(vocabulary, blank_penalty=0.5) == ["a", "b"]


def test_each_error_rate_is_decoded_with_its_own_penalty():
    heard = {"a": Heard(np.array([1, 2]), np.array([-1.0, 0.4], dtype=np.float32))}
    probe = TrainedProbe(ProbeModel(1, LinearHead(2, 3, hidden=2)), Vocabulary(("a", "b")), {"CER": 0.5, "WER": 0.0}, 1)
    assert probe.recognise(heard, "CER") == {"a": ["a", "b"]}
    assert probe.recognise(heard, "WER") == {"a": ["a"]}


def test_decoding_without_penalty_is_the_best_number_of_each_frame():
    examples = of_lengths(7, 4)
    model = ProbeModel(1, LinearHead(DIM, 4, hidden=8)).eval()
    vocabulary = Vocabulary(("a", "b", "c"))
    heard = listen(model, examples, batch_seconds=1.0)
    for name in examples.ids:
        stack, lengths = examples.stack([name])
        best = model(stack, lengths)[0].argmax(-1).numpy()
        assert heard[name].decode(vocabulary, blank_penalty=0.0) == vocabulary.decode(best)


# Counting errors

texts = st.lists(st.sampled_from(["a", "bb", "c"]), max_size=7)


@given(st.lists(st.tuples(texts.filter(bool), texts), min_size=1, max_size=4))
def test_errors_are_the_edit_distance_and_jiwers(pairs):
    references, hypotheses = zip(*pairs, strict=True)
    errors = count_errors(references, hypotheses)
    assert errors.tolist() == [edit_distance(reference, said) for reference, said in pairs]
    rate = jiwer.wer([" ".join(words) for words in references], [" ".join(words) for words in hypotheses])
    assert errors.sum() / sum(map(len, references)) == pytest.approx(rate)


def test_letter_and_word_errors_are_jiwers_of_the_text():
    reference, said = list("THE|CAT|ISN'T|IN"), list("|THE|CATS||IN|")
    letters = count_errors([spelt(reference)], [spelt(said)]) / len(spelt(reference))
    words = count_errors([words_in(reference)], [words_in(said)]) / 4
    assert letters[0] == pytest.approx(jiwer.cer("THE CAT ISN'T IN", "THE CATS IN"))
    assert words[0] == pytest.approx(jiwer.wer("THE CAT ISN'T IN", "THE CATS IN"))


# Targets


def test_phones_are_the_pronunciation_else_what_was_aligned_without_pauses():
    aligned = {"a": [Segment("a", 0.0, 0.1, "SIL"), Segment("a", 0.1, 0.2, "AE1"), Segment("a", 0.2, 0.3, "T")]}
    splits = {"test": [Utterance("a", Path("a"), 1.0)]}
    corpus = LabelledCorpus("x", splits, phones=aligned)
    assert phones_of(corpus, "a", stress=True) == ["AE1", "T"]
    assert phones_of(corpus, "a", stress=False) == ["AE", "T"]
    corpus = LabelledCorpus("x", splits, phones=aligned, pronunciations={"a": ("AH0", "T")})
    assert phones_of(corpus, "a", stress=True) == ["AH0", "T"]
    assert phones_of(LabelledCorpus("x", splits), "a", stress=True) == []


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Well-known,  isn\u2019t it?\n", "WELL|KNOWN|ISN'T|IT"),
        ("\u0628\u0627\u0628 \u0628\u0627\u0628", "\u0628\u0627\u0628|\u0628\u0627\u0628"),
        ("\u0915\u0941\u0924\u094d\u0924\u093e", "\u0915\u0941\u0924\u094d\u0924\u093e"),  # marks are part of words
        ("a|b", "A|B"),
        ("...", ""),
        ("", ""),
    ],
)
def test_letters_are_capitals_without_punctuation(text, letters):
    corpus = LabelledCorpus("x", {"test": [Utterance("a", Path("a"), 1.0)]}, transcripts={"a": text})
    assert "".join(letters_of(corpus, "a")) == letters


def test_english_is_spelt_with_28_symbols_and_other_scripts_with_their_own():
    english = Examples((0,), [{}], {"a": ["C", "|", "D"]}, {}, 50.0)
    arabic = Examples((0,), [{}], {"a": ["\u0628", "|", "\u0627"]}, {}, 50.0)
    assert len(ENGLISH_LETTERS) == 28
    assert SpeechRecognition().vocabulary(english).symbols == ENGLISH_LETTERS
    assert SpeechRecognition().vocabulary(arabic).symbols == ("|", "\u0627", "\u0628")


# The model


def of_lengths(*lengths: int, layers: int = 1) -> Examples:
    rng = np.random.default_rng(1)
    frames = [
        {str(number): rng.standard_normal((length, DIM)).astype(np.float32) for number, length in enumerate(lengths)}
        for _ in range(layers)
    ]
    targets = {name: ["a", "b"] for name in frames[0]}
    by_id = {name: len(values) for name, values in frames[0].items()}
    return Examples(tuple(range(layers)), frames, targets, by_id, 50.0)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kind", ["linear", "recurrent"])
def test_an_utterance_alone_is_as_in_a_batch(kind, stride):
    examples = of_lengths(11, 4, 7, layers=2)
    torch.manual_seed(0)
    head = (
        LinearHead(DIM, 5, hidden=8)
        if kind == "linear"
        else RecurrentHead(DIM, 5, hidden=8, stride=stride, dropout=0.5, residual=True)
    )
    model = ProbeModel(2, head).eval()
    stack, lengths = examples.stack(examples.ids)
    stack[:, torch.arange(stack.shape[2]) >= lengths[:, None]] = 0.0
    together = model(stack, lengths)
    for row, name in enumerate(examples.ids):
        alone = model(*examples.stack([name]))[0]
        assert len(alone) == model.steps(lengths)[row] == -(-int(lengths[row]) // head.stride)
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-6, rtol=1e-5)


def test_the_recurrent_head_is_a_bidirectional_lstm():
    torch.manual_seed(0)
    head = RecurrentHead(DIM, 5, hidden=8, stride=1, dropout=0.0, residual=False)
    library = torch.nn.LSTM(8, 8, num_layers=2, bidirectional=True, batch_first=True)
    names = [(f"l{layer}{end}", side) for layer in range(2) for side, end in (("ahead", ""), ("back", "_reverse"))]
    for (suffix, side), layer in zip(names, (0, 0, 1, 1), strict=True):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            own = getattr(getattr(head.lstms[layer], side), f"{kind}_l0")
            getattr(library, f"{kind}_{suffix}").data.copy_(own)
    frames, lengths = torch.randn(3, 9, DIM), torch.tensor([9, 2, 5])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        head.projector(frames), lengths, batch_first=True, enforce_sorted=False
    )
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(library(packed)[0], batch_first=True)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(head(frames, lengths)[row, :length], head.output(expected)[row, :length])


def test_with_residuals_lstms_that_say_nothing_leave_the_projection():
    torch.manual_seed(0)
    head = RecurrentHead(DIM, 5, hidden=8, stride=1, dropout=0.0, residual=True)
    for parameter in head.lstms.parameters():
        torch.nn.init.zeros_(parameter)
    frames = torch.randn(2, 6, DIM)
    projected = head.projector(frames)
    torch.testing.assert_close(
        head(frames, torch.tensor([6, 4])), head.output(torch.cat([projected, projected], dim=-1))
    )


def test_the_linear_head_is_two_linear_layers_with_their_gradients():
    torch.manual_seed(0)
    head = LinearHead(DIM, 5, hidden=8)
    frames = torch.randn(2, 6, DIM)
    expected = head.output(head.projector(frames))
    got = head(frames, torch.tensor([6, 6]))
    torch.testing.assert_close(got, expected)
    for one, other in zip(
        torch.autograd.grad(got.square().sum(), head.parameters()),
        torch.autograd.grad(expected.square().sum(), head.parameters()),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_layers_are_weighted_by_a_softmax_that_begins_even():
    examples = of_lengths(5, layers=3)
    model = ProbeModel(3, LinearHead(DIM, 4, hidden=8))
    stack, lengths = examples.stack(["0"])
    torch.testing.assert_close(model(stack, lengths), model.head(stack.mean(0), lengths))
    model.layer_logits.data = torch.tensor([0.0, 1.0, -2.0])
    weights = np.exp([0.0, 1.0, -2.0])
    mixed = torch.einsum("l,lbfd->bfd", torch.tensor(weights / weights.sum(), dtype=torch.float32), stack)
    torch.testing.assert_close(model(stack, lengths), model.head(mixed, lengths))


def test_the_loss_is_ctcs_by_the_sum_over_all_alignments():
    examples = replace(of_lengths(4), targets={"0": ["a", "a"]})
    model = ProbeModel(1, LinearHead(DIM, 3, hidden=8))
    vocabulary = Vocabulary(("a", "b"))
    logs = model(*examples.stack(["0"]))[0].log_softmax(-1).detach().double().numpy()
    paths = np.array(np.meshgrid(*[range(3)] * 4)).reshape(4, -1).T
    said = [vocabulary.decode(path) == ["a", "a"] for path in paths]
    total = sum(np.exp(logs[range(4), path].sum()) for path, right in zip(paths, said, strict=True) if right)
    assert ctc_loss(model, vocabulary, examples, ["0"]).item() == pytest.approx(-np.log(total) / 2, rel=1e-5)


def test_frames_needed_is_the_shortest_path_that_says_it():
    assert frames_needed(["a", "b", "a"]) == 3
    assert frames_needed(["a", "a", "b", "b", "b"]) == 8
    assert frames_needed([]) == 0


# Tasks


@pytest.mark.parametrize(("kind", "names"), [("pr", ["PER"]), ("asr", ["CER", "WER"])])
def test_a_probe_overfits_ten_utterances(kind, names):
    speech = Speech(kind=kind, train=10)
    for split in ("dev", "test"):
        speech.splits[split] = speech.splits["train"]
        for layer in range(3):
            speech.given[split, layer, "clean"] = speech.given["train", layer, "clean"]
    noise_free = {key: frames for key, frames in speech.given.items() if key[2] == "clean"}
    task = replace(OVERFIT[kind], layers="weighted")
    found = values(list(task.scores(speech.corpus, GivenFrames(noise_free))))
    assert [found[name, None, "clean"] for name in names] == [[0.0]] * len(names)


def test_the_layer_that_holds_the_phones_weighs_most_and_each_layer_can_be_probed():
    speech = Speech()
    scores = list(replace(PR, layers="each").scores(speech.corpus, speech.store()))
    found = values(scores)
    weights = [found["layer weight", layer, "clean"][0] for layer in range(3)]
    assert sum(weights) == pytest.approx(1)
    assert weights[1] == max(weights)
    assert found["PER", 1, "clean"][0] < 0.2 < 0.5 < found["PER", 0, "clean"][0]
    assert {score.layer for score in scores if score.measure.name == "PER"} == {None, 0, 1, 2}


def test_one_layer_equals_the_weighted_sum_of_that_layer_alone():
    speech = Speech()
    last = values(list(replace(PR, layers="last").scores(speech.corpus, speech.store(0, 1), seeds=2)))
    alone = values(list(replace(PR, layers="weighted").scores(speech.corpus, speech.store(1), seeds=2)))
    assert last["PER", 1, "clean"] == alone["PER", None, "clean"]
    assert last["PER", 1, "noise"] == alone["PER", None, "noise"]


@pytest.mark.parametrize(("kind", "task"), [("pr", PR), ("asr", ASR)])
def test_a_seed_gives_the_same_probe_whatever_the_order_and_another_seed_another(kind, task):
    task = replace(task, layers="weighted", updates=20)
    speech = Speech(kind=kind)
    before = torch.random.get_rng_state()
    found = values(list(task.scores(speech.corpus, speech.store(), seeds=2)))
    assert torch.equal(before, torch.random.get_rng_state())
    one, other = found["layer weight", 0, "clean"]
    assert one != other
    for utterances in speech.splits.values():
        utterances.reverse()
    assert values(list(task.scores(speech.corpus, speech.store(), seeds=2))) == found


def test_noise_changes_the_figures_but_not_the_probe():
    speech = Speech()
    found = values(list(PR.scores(speech.corpus, speech.store(1))))
    assert found["PER", 1, "noise"] > found["PER", 1, "clean"]
    speech.given["test", 1, "noise"] = speech.given["test", 1, "clean"]
    same = values(list(PR.scores(speech.corpus, speech.store(1))))
    assert same["PER", 1, "noise"] == found["PER", 1, "clean"] == same["PER", 1, "clean"]


def test_a_condition_without_all_layers_has_no_weighted_sum():
    speech = Speech()
    for layer in (0, 1):
        del speech.given["test", layer, "noise"]
    found = values(list(replace(PR, layers="both").scores(speech.corpus, speech.store())))
    assert ("PER", 2, "noise") in found
    assert ("PER", None, "noise") not in found


def test_speakers_are_drawn_again_and_utterances_where_one_is_unknown():
    speech = Speech()
    score = first(speech)
    assert (score.measure.groups, score.measure.grouped_by) == (("test 0", "test 1", "test 2"), "speaker")
    speech.splits["test"][0] = replace(speech.splits["test"][0], speaker="unknown")
    score = first(speech)
    assert score.measure.grouped_by == "utterance"
    assert len(score.measure.groups) == 6


# Hostile input


def test_what_cannot_be_used_is_counted():
    speech = Speech(train=12, dev=5, test=7)
    speech.said["train-0"] = ["B"] * 50
    speech.said["train-1"] = []
    del speech.given["train", 1, "clean"]["train-2"]
    del speech.said["dev-0"]
    speech.said["test-0"] = []
    speech.said["test-1"] = ["B", "D"] * 40
    speech.said["test-2"] = [*speech.said["test-2"], "XX1"]
    speech.given["test", 1, "clean"]["test-3"] = np.zeros((0, DIM))
    measure = first(speech).measure
    said = sum(len(speech.said[f"test-{number}"]) for number in (1, 2, 4, 5, 6))
    expected = {
        "train utterances": 9,
        "train utterances without frames": 1,
        "train utterances without labels": 1,
        "train utterances with more phones than frames": 1,
        "dev utterances": 4,
        "dev utterances without labels": 1,
        "test utterances": 5,
        "test phones": said,
        "test utterances without frames": 1,
        "test utterances without labels": 1,
        "test utterances with more phones than frames": 1,
        "test phones never seen in training": 1,
    }
    assert {key: count for key, count in measure.counts.items() if key in expected} == expected
    assert set(measure.counts) - set(expected) == {"updates of the best probe"}


def test_a_phone_never_seen_in_training_is_an_error():
    speech = Speech(noise=0.0)
    before = first(speech).measure
    name = "test-1"
    speech.said[name] = ["XX1", *speech.said[name][1:]]
    after = first(speech).measure
    assert before.value == 0
    assert after.value == pytest.approx(1 / after.counts["test phones"])


def test_an_obstacle_says_what_is_missing():
    speech = Speech()
    assert PR.obstacle(speech.corpus) is None
    assert "transcripts" in str(ASR.obstacle(speech.corpus))
    assert "`dev`" in str(PR.obstacle(LabelledCorpus("x", {**speech.splits, "dev": []}, pronunciations=speech.said)))
    only_test = {name: said for name, said in speech.said.items() if name.startswith("test")}
    reason = PR.obstacle(LabelledCorpus("x", speech.splits, pronunciations=only_test))
    assert "`train`" in str(reason)
    assert "pronunciations" in str(reason)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_split_without_frames_is_refused(split):
    speech = Speech()
    speech.given[split, 1, "clean"] = {}
    with pytest.raises(DataError, match=f"`{split}`"):
        first(speech)


def test_labels_longer_than_all_frames_are_refused():
    speech = Speech()
    speech.said |= {name: ["B"] * 99 for name in speech.said if name.startswith("train")}
    with pytest.raises(DataError, match="more phones than frames"):
        first(speech)


def test_one_utterance_in_each_split_is_enough():
    speech = Speech(train=1, dev=1, test=1)
    assert first(speech).measure.counts["test utterances"] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_frames_that_are_not_finite_are_refused_with_their_place(split, value):
    speech = Speech()
    speech.given[split, 1, "clean"][f"{split}-2"][3, 4] = value
    with pytest.raises(DataError, match=f"{split}-2.*layer 1"):
        first(speech)


def test_layers_of_other_width_have_no_weighted_sum():
    speech = Speech()
    for split in ("train", "dev", "test"):
        wide = speech.given[split, 2, "clean"]
        speech.given[split, 2, "clean"] = {name: np.pad(frames, ((0, 0), (0, 1))) for name, frames in wide.items()}
    with pytest.raises(DataError, match=r"layer 0 has 12.*layer 2 has 13"):
        list(replace(PR, layers="weighted").scores(speech.corpus, speech.store()))
    found = values(list(replace(PR, layers="last").scores(speech.corpus, speech.store(1))))
    assert found["PER", 1, "clean"][0] < 0.2


def test_layers_with_other_numbers_of_frames_are_refused():
    speech = Speech()
    speech.given["train", 2, "clean"]["train-0"] = speech.given["train", 2, "clean"]["train-0"][:-1]
    with pytest.raises(DataError, match="train-0 has frames"):
        list(replace(PR, layers="weighted").scores(speech.corpus, speech.store()))


@pytest.mark.parametrize("task", [PhoneRecognition, SpeechRecognition])
def test_settings_are_checked_and_plain(task):
    made = construct(task, {"updates": "50", "lr": "1e-3", "blank_penalties": [0.0], "patience": "100"}, where="x")
    assert (made.updates, made.lr, made.blank_penalties, made.patience) == (50, 1e-3, (0.0,), 100)
    for wrong in (
        {"updates": 0},
        {"layers": "first"},
        {"lr": -1.0},
        {"lr": float("nan")},
        {"warmup_updates": 10_000},
        {"patience": 1},
        {"blank_penalties": ()},
        {"evaluate_every": 0},
        {"hidden": 0},
    ):
        with pytest.raises(RecipeError, match=next(iter(wrong))):
            construct(task, wrong, where="x")


def test_patience_stops_and_keeps_the_best():
    speech = Speech(noise=0.0)
    patient = replace(PR, layers="last", updates=2000, decay=False, patience=20)
    measure = next(patient.scores(speech.corpus, speech.store(1))).measure
    assert measure.value == 0
    assert measure.counts["updates of the best probe"] < 200


def test_real_speech_is_learned(shared_speech):
    """The phones of two utterances are read from the log-mel frames of these two, and hardly from those of another."""
    import soundfile
    from torchaudio.transforms import MelSpectrogram

    from ssft.evaluation.items import read_table

    root = shared_speech / "speechocean762_train"
    table = read_table(root / "phones.tsv", ("path", "canonical_phones_per_word"))[:3]
    said = {name: phones.replace("|", " ").split() for name, phones in table}
    mel = MelSpectrogram(16_000, n_fft=400, hop_length=320, n_mels=40)
    frames = {}
    for name in said:
        wave, _ = soundfile.read(root / name, dtype="float32")
        frames[name] = torch.log(mel(torch.from_numpy(wave)) + 1e-4).T.numpy()
    two, third = list(said)[:2], list(said)[2]
    splits = {"train": two, "dev": two, "test": two}
    store = GivenFrames({(split, 0, "clean"): {name: frames[name] for name in ids} for split, ids in splits.items()})
    store.given["test", 0, "noise"] = dict.fromkeys(two, frames[third])  # type: ignore[index]
    store.conditions = ("clean", "noise")
    corpus = LabelledCorpus(
        "two", {s: [Utterance(n, root / n, 1.0) for n in ids] for s, ids in splits.items()}, pronunciations=said
    )
    task = PhoneRecognition(layers="last", updates=300, evaluate_every=100, lr=0.03)
    found = values(list(task.scores(corpus, store)))
    assert found["PER", 0, "clean"][0] < 0.3 < 0.7 < found["PER", 0, "noise"][0]
