"""What a view can be besides the last layer of a waveform: other layers, hidden frames, delayed originals, labels."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_encoders import (
    LAYERS,
    VARIETIES,
    model_input,
    norms_below_layers,
    plain_model,
    random_encoder,
    random_waves,
)

from ssft.augment import SpeedPerturb
from ssft.data import Data, PairDataset
from ssft.data.targets import read_targets
from ssft.encoders import Encoder, SpanMask, SplitEncoder
from ssft.encoders.split import NOTHING, STEM
from ssft.engine import CorrespondenceModel, CorrespondenceTrainer, Train
from ssft.engine.optim import trainable
from ssft.errors import DataError, RecipeError, RunError
from ssft.heads import Identity, Projection
from ssft.losses import FrameLoss, PseudoLabel, SoftDTW, Weighted
from ssft.types import Frames, LossOutput, Pair, PairBatch, Waves
from ssft.views import Views

NORMS = norms_below_layers("hubert")


class Recording(FrameLoss):
    """Keeps what it was given, and has a weight to train."""

    def materialize(self, dim):
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))

    def compare(self, student, reference, targets):
        self.student, self.reference, self.targets = student, reference, targets
        self.calls += 1
        return LossOutput(self.scale * student.valid().square().mean(), weight=len(student.lengths), logs={"one": 1.0})

    def after_step(self):
        self.after = getattr(self, "after", 0) + 1


class Labelled(Recording):
    needs_targets = True


class Alone(Recording):
    needs_reference = False


def pairs(*lengths, **fields):
    waves = random_waves(*lengths)
    return [
        Pair(f"u{number}", wave[:length], wave[:length].flip(0), length / 16_000, **fields)
        for number, (wave, length) in enumerate(zip(waves.samples, lengths, strict=True))
    ]


# --- where the encoder is cut ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [(9000, 16000, 5000), (8000, 8000)])
@pytest.mark.parametrize("below", ["norms", "stem"])
@pytest.mark.parametrize(("family", "norm"), VARIETIES)
@torch.no_grad()
def test_seam_is_exact_where_parts_below_the_layers_train(family, norm, below, padding):
    encoder = random_encoder(family, norm)
    if below == "stem" and encoder.family.input == "log_mel":
        pytest.skip("a log-mel spectrogram has nothing to train")
    also = norms_below_layers(family) if below == "norms" else ["feature_extractor.*"]
    split = SplitEncoder(encoder, 1, train_also=also).eval()
    assert split.cut == (STEM if below == "norms" else NOTHING)
    waves = random_waves(*padding)
    for a, b in zip(split(waves).items(), encoder(waves).items(), strict=True):
        assert float((a - b).abs().max()) == 0.0
    states = split.top_states(split.bottom(waves), range(1, LAYERS + 1))
    for state, expected in zip(states, encoder.hidden_states(waves)[1:], strict=True):
        for a, b in zip(state.items(), expected.items(), strict=True):
            assert float((a - b).abs().max()) == 0.0


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_gradients_reach_every_part_that_is_named_and_no_other(family, norm):
    named = norms_below_layers(family)
    split = SplitEncoder(random_encoder(family, norm, dropout=0.0), 1, train_also=named)
    split(random_waves(8000, 6000)).valid().square().sum().backward()
    got = {name for name, parameter in split.encoder.model.named_parameters() if parameter.grad is not None}
    expected = {
        name
        for name, _ in split.encoder.model.named_parameters()
        if name.startswith((*(f"{norm}." for norm in named), f"encoder.layers.{LAYERS - 1}."))
    }
    assert got == expected == {n for n, p in split.encoder.model.named_parameters() if p.requires_grad}


def test_the_final_norm_of_a_large_model_needs_no_lower_cut():
    split = SplitEncoder(random_encoder("hubert", "layer"), 1, train_also=["encoder.layer_norm"])
    assert split.cut == LAYERS - 1
    lower = SplitEncoder(random_encoder("hubert", "layer"), 1, train_also=["encoder.layers.0.layer_norm"])
    assert lower.cut == 0


def test_frozen_dropout_is_dead_unless_it_is_asked_for():
    waves = random_waves(16000)
    for alive in (False, True):
        split = SplitEncoder(random_encoder("hubert", "group", dropout=0.5), 1, frozen_dropout=alive).train()
        assert torch.equal(split.bottom(waves).values, split.bottom(waves).values) is not alive
        assert torch.equal(split.eval().bottom(waves).values, split.bottom(waves).values)
        split.train()
        assert not split.encoder.model.feature_extractor.training
        model = CorrespondenceModel(split, Identity(), SoftDTW()).train()
        assert any(module.training for module in model.reference.modules()) is alive


def test_a_name_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match=r"nothing named 'encoder\.layernorm'.*Did you mean 'encoder\.layer_norm'"):
        Encoder("tiny", train_also=["encoder.layernorm"]).check()
    split = SplitEncoder(random_encoder("hubert", "group"), 1, train_also=["feature_extractor"])
    with pytest.raises(RecipeError, match="frozen stem"):
        CorrespondenceModel(split, Identity(), SoftDTW(), reference="frozen")


def test_frozen_reference_does_not_follow_norms_that_train():
    split = SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 1, train_also=NORMS)
    model = CorrespondenceModel(split, Identity(False), loss := Recording())
    batch = PairBatch.collate(pairs(8000, 6000))
    model.eval()(batch)
    before = loss.reference.values
    with torch.no_grad():
        for parameter in trainable(split).values():
            parameter.add_(0.5)
    model(batch)
    assert torch.equal(loss.reference.values, before)


# --- loss layers -----------------------------------------------------------------------------------------------------


def test_each_loss_layer_has_its_own_head_and_loss():
    split = SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2)
    model = CorrespondenceModel(split, Projection(8), Recording(), loss_layers=[3, 2]).eval()
    batch = PairBatch.collate(pairs(8000, 6000))
    output = model(batch)
    assert model.loss_layers == (2, 3)
    assert not torch.equal(model.heads[0].layers[0].weight, model.heads[1].layers[0].weight)
    assert set(output["logs"]) == {"loss_layer_2", "one_layer_2", "loss_layer_3", "one_layer_3"}
    assert float(output["loss"].detach()) == pytest.approx(
        (output["logs"]["loss_layer_2"] + output["logs"]["loss_layer_3"]) / 2, rel=1e-5
    )
    states = split.encoder.hidden_states(batch.joined())
    for number, loss, head in zip((2, 3), model.losses, model.heads, strict=True):
        expected = head(states[number].select(torch.tensor([2, 3])))
        torch.testing.assert_close(loss.student.values, expected.values, atol=1e-5, rtol=1e-4)
    output["loss"].backward()
    assert all(p.grad is not None for p in trainable(model).values())


@pytest.mark.parametrize(
    ("layers", "message"),
    [([1], "nothing at or below layer 1 is trained"), ([4], "layers 1 to 3, not 4"), ([3, 3], "names a layer twice")],
)
def test_loss_layers_that_cannot_learn_are_refused(layers, message):
    split = SplitEncoder(random_encoder("hubert", "group"), 2)
    with pytest.raises(RecipeError, match=message):
        CorrespondenceModel(split, Identity(), SoftDTW(), loss_layers=layers)


def test_loss_layers_are_checked_without_weights():
    with pytest.raises(RecipeError, match=r"views\.loss_layers=\[3\].*Give layers from 5 to 6"):
        Encoder("tiny", trainable_layers=2).check(loss_layers=[3])


# --- masks -----------------------------------------------------------------------------------------------------------


def test_only_the_student_is_kept_from_hearing_and_what_is_hidden_does_not_matter():
    split = SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 2)
    loss = Recording()
    model = CorrespondenceModel(split, Identity(False), loss, mask=SpanMask(0.3, 3)).eval()
    items = pairs(8000, 6000)
    batch = PairBatch.collate([Pair(p.id, p.original, p.original, p.seconds, swapped=True, seed=5) for p in items])
    model(batch)
    assert loss.reference.masked is None or not loss.reference.masked.any()
    masked = loss.student.masked
    assert 0 < masked.sum() < masked.numel()
    assert not masked[1, int(loss.student.lengths[1]) :].any(), "padding is not hidden, it is not there"
    assert not torch.allclose(loss.student.values, loss.reference.values, atol=1e-3)
    # What the stem says about hidden frames cannot reach the layers.
    waves = batch.joined()
    hide = torch.zeros(4, int(split.encoder.frame_lengths(waves.lengths).max()), dtype=torch.bool)
    hide[:, 5:9] = True
    features = replace(split.encoder.features(waves), masked=hide)
    first = split.encoder.enter(features)
    features.values[:, 5:9] = 1e3
    assert torch.equal(split.encoder.enter(features).values, first.values)


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_masking_is_transformers_own(family, norm):
    split = SplitEncoder(random_encoder(family, norm, dropout=0.0), 1).eval()
    waves = random_waves(12000)
    masked = torch.zeros(1, int(split.encoder.frame_lengths(waves.lengths)), dtype=torch.bool)
    masked[0, 3:11] = True
    with torch.no_grad():
        if family == "sew":  # its layers' frames are not those of the mask
            with pytest.raises(RecipeError, match="no embedding for frames that are hidden"):
                split.bottom(waves, masked)
            return
        expected = plain_model(split.encoder)(model_input(split.encoder, waves), mask_time_indices=masked)
        assert torch.equal(split.top(split.bottom(waves, masked)).values, expected.last_hidden_state)


def test_span_mask_hides_about_half_and_is_a_function_of_its_generator():
    mask = SpanMask()
    shares = [mask.draw(500, np.random.default_rng(seed)).mean() for seed in range(200)]
    assert 0.5 < np.mean(shares) < 0.6  # 1 - (1 - 1/10) ** 8 would be 0.57 for spans drawn independently
    assert np.array_equal(mask.draw(80, np.random.default_rng(1)), mask.draw(80, np.random.default_rng(1)))
    for length in (1, 2, 9, 10, 11):
        assert 0 < mask.draw(length, np.random.default_rng(0)).sum() <= length


@pytest.mark.parametrize("settings", [{"probability": 0.0}, {"probability": 1.5}, {"frames": 0}])
def test_span_mask_refuses(settings):
    with pytest.raises(RecipeError, match=next(iter(settings))):
        SpanMask(**settings)


def test_mask_embedding_can_be_trained():
    split = SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 1, train_also=["masked_spec_embed"])
    model = CorrespondenceModel(split, Identity(False), Alone(), mask=SpanMask(0.5, 2))
    model(PairBatch.collate(pairs(8000)))["loss"].backward()
    assert float(split.encoder.model.masked_spec_embed.grad.abs().sum()) > 0


# --- a delayed original ----------------------------------------------------------------------------------------------


def test_delay_is_whole_frames_of_silence_that_are_cut_off_again(recordings):
    utterances = Data(str(recordings)).load().utterances
    plain, delayed = PairDataset(utterances), PairDataset(utterances, pad_jitter=(0.05, 0.2))
    for index in range(4):
        before, after = plain[0, index], delayed[0, index]
        assert after.lead > 0
        assert 0.04 < after.lead * 320 / len(before.original) < 0.21
        assert torch.equal(after.original[after.lead * 320 :], before.original)
        assert not after.original[: after.lead * 320].any()
        assert torch.equal(after.augmented, before.augmented)
        assert after.seconds == before.seconds
    assert delayed[0, 0].lead != delayed[1, 0].lead or delayed[0, 1].lead != delayed[1, 1].lead


@pytest.mark.parametrize("swapped", [False, True])
def test_frames_pair_by_index_after_a_delay(swapped):
    """Far from the silence the frames of a delayed original are those of the original, to what position changes."""
    loss = Recording()
    split = SplitEncoder(random_encoder("hubert", "layer", dropout=0.0), 1)
    model = CorrespondenceModel(split, Identity(False), loss).eval()
    items = []
    for pair, lead in zip(pairs(9600, 6400), (4, 0), strict=True):
        silent = torch.cat([torch.zeros(lead * 320), pair.original])
        items.append(Pair(pair.id, silent, pair.original, pair.seconds, swapped=swapped, lead=lead))
    model(PairBatch.collate(items))
    assert torch.equal(loss.student.lengths, loss.reference.lengths)
    features = [split.encoder.stem(Waves.stack([w])).values for w in (items[0].original, items[0].augmented)]
    torch.testing.assert_close(features[0][:, 4:], features[1], atol=1e-4, rtol=1e-3)
    delayed, plain = (loss.student, loss.reference) if swapped else (loss.reference, loss.student)
    similarity = torch.cosine_similarity(delayed.values[0], plain.values[0], dim=-1)
    shifted = torch.cosine_similarity(delayed.values[0, :-4], plain.values[0, 4:], dim=-1)
    assert float(similarity.detach().mean()) > float(shifted.detach().mean())


def test_after_cuts_each_item_by_its_own_lead():
    frames = Frames.stack([torch.arange(6.0)[:, None], torch.arange(10.0, 14.0)[:, None]])
    cut = frames.after(torch.tensor([2, 1]))
    assert [item[:, 0].tolist() for item in cut.items()] == [[2, 3, 4, 5], [11, 12, 13]]
    assert frames.after(torch.tensor([0, 0])) is frames


@pytest.mark.parametrize("jitter", [(0.1,), (0.2, 0.1), (-0.1, 0.1), (0.5, 2.0), (0.1, 0.2, 0.3)])
def test_pad_jitter_refused(jitter):
    with pytest.raises(RecipeError, match="pad_jitter"):
        Views(pad_jitter=jitter)


# --- originals, labels, state ----------------------------------------------------------------------------------------


def test_both_views_may_be_augmented_by_draws_of_their_own(recordings):
    utterances = Data(str(recordings)).load().utterances
    faster = SpeedPerturb(factors=(0.8, 0.9, 1.1, 1.2))
    both = PairDataset(utterances, augment=faster, augment_original=faster)
    lengths = [(len(both[0, i].original), len(both[0, i].augmented)) for i in range(16)]
    assert any(a != b for a, b in lengths)
    only = PairDataset(utterances, augment=faster)
    assert all(torch.equal(only[0, i].augmented, both[0, i].augmented) for i in range(4)), "made of clean audio"


@pytest.fixture
def labels(recordings, tmp_path):
    """A label per frame that says where in the utterance it stands."""
    path = tmp_path / "labels.tsv"
    utterances = Data(str(recordings)).load().utterances
    lines = [f"{u.id}\t{' '.join(map(str, range(int(u.seconds * 50))))}" for u in utterances[:12]]
    path.write_text("\n".join(["id\tlabels", *lines]) + "\n")
    return path


def test_labels_are_cropped_with_the_audio(recordings, labels):
    corpus = Data(str(recordings), targets=str(labels)).load()
    assert len(corpus.utterances) == 12
    assert {(reject.reason) for reject in corpus.rejects} == {"no_labels"}
    whole = PairDataset(corpus.utterances, targets=corpus.targets)
    part = PairDataset(corpus.utterances, targets=corpus.targets, max_seconds=0.4)
    for index in range(12):
        assert whole[0, index].targets[0] == 0
        pair = part[0, index]
        full = whole[0, index].original
        places = (full[:-5].unfold(0, 6, 1) - pair.original[100:106]).abs().sum(1)
        start = int(places.argmin()) - 100
        assert abs(int(pair.targets[0]) * 320 - start) <= 320
        assert torch.equal(pair.targets, torch.arange(len(pair.targets)) + pair.targets[0])


def test_labels_reach_the_loss_that_needs_them_and_no_other(recordings, labels):
    corpus = Data(str(recordings), targets=str(labels)).load()
    dataset = PairDataset(corpus.utterances, targets=corpus.targets)
    batch = PairBatch.collate([dataset[0, index] for index in range(3)])
    split = SplitEncoder(random_encoder("hubert", "group"), 1)
    for loss in (Labelled(), Recording()):
        CorrespondenceModel(split, Identity(), loss)(batch)
        assert (loss.targets is not None) is loss.needs_targets
    assert batch.targets.values.dtype == torch.int64


def test_a_loss_that_needs_labels_and_has_none_is_refused_before_training(recordings):
    with pytest.raises(RecipeError, match=r"needs labels.*--data\.targets"):
        CorrespondenceTrainer(
            encoder=SplitEncoder(random_encoder("hubert", "group"), 1),
            head=Identity(),
            loss=Labelled(),
            pairs=PairDataset(Data(str(recordings)).load().utterances),
            train=Train(steps=1),
        )


def test_no_labels_for_anything_says_so(recordings, tmp_path):
    (tmp_path / "other.tsv").write_text("id\tlabels\nnobody\t1 2 3\n")
    with pytest.raises(DataError, match="no_labels 16"):
        Data(str(recordings), targets=str(tmp_path / "other.tsv")).load()
    assert len(read_targets(tmp_path / "other.tsv")) == 1


def test_a_reference_that_nobody_asks_for_is_not_computed():
    split = SplitEncoder(random_encoder("hubert", "group"), 1)
    model = CorrespondenceModel(split, Identity(), loss := Alone())
    assert model.reference is None
    model(PairBatch.collate(pairs(8000)))
    assert loss.reference.values is loss.student.values or torch.equal(loss.reference.values, loss.student.values)


def test_state_of_a_loss_is_resumed_and_after_step_is_called(recordings, tmp_path):
    def trainer():
        return CorrespondenceTrainer(
            encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 1),
            head=Identity(False),
            loss=Recording(),
            pairs=PairDataset(Data(str(recordings)).load().utterances, swap=0.5),
            train=Train(steps=4, batch_seconds=5.0, save_every=2, lr=1e-3),
        )

    straight = trainer()
    straight.fit(tmp_path / "run")
    assert straight.model.losses[0].after == 4
    again = trainer()
    again.fit(tmp_path / "run", resume=True)
    assert again.model.losses[0].calls == straight.model.losses[0].calls == 4
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {record["one"] for record in records} == {1.0}


def test_a_cache_of_what_is_never_the_same_is_refused(recordings):
    utterances = Data(str(recordings)).load().utterances
    for options, mask in (({"frozen_dropout": True}, None), ({"train_also": NORMS}, None), ({}, SpanMask())):
        with pytest.raises(RecipeError, match=r"train\.cache_variants"):
            CorrespondenceTrainer(
                encoder=SplitEncoder(random_encoder("hubert", "group"), 1, **options),
                head=Identity(),
                loss=Recording(),
                mask=mask,
                pairs=PairDataset(utterances),
                train=Train(steps=1, cache_variants=1),
            )


def test_labels_of_more_classes_than_the_loss_knows_are_refused_before_training(recordings, labels):
    corpus = Data(str(recordings), targets=str(labels)).load()
    with pytest.raises(RecipeError, match=r"PseudoLabel tells 5 classes apart, but data\.targets has \d+: set classes"):
        CorrespondenceTrainer(
            encoder=SplitEncoder(random_encoder("hubert", "group"), 1),
            head=Identity(),
            loss=Weighted({"labels": PseudoLabel(classes=5)}),
            pairs=PairDataset(corpus.utterances, targets=corpus.targets),
            train=Train(steps=1),
        )


def test_resume_refuses_other_labels(recordings, labels, tmp_path):
    def trainer():
        corpus = Data(str(recordings), targets=str(labels)).load()
        return CorrespondenceTrainer(
            encoder=SplitEncoder(random_encoder("hubert", "group", dropout=0.0), 1),
            head=Identity(False),
            loss=PseudoLabel(classes=100),
            pairs=PairDataset(corpus.utterances, targets=corpus.targets),
            train=Train(steps=2, batch_seconds=5.0),
        )

    trainer().fit(tmp_path / "run")
    assert trainer().fit(tmp_path / "run", resume=True).steps == 2
    labels.write_text(labels.read_text().replace("\t0 1 2", "\t1 1 2"))
    with pytest.raises(RunError, match=r"labels in data\.targets have changed"):
        trainer().fit(tmp_path / "run", resume=True)
