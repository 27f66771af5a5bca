"""Units: nearest centroids against a loop, k-means on what is known, SPIN's codebook from a run, pieces that cover."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import save_file
from torch import Tensor, nn

from ssft.components import describe
from ssft.engine.checkpoint import Checkpoint, CheckpointFolder
from ssft.errors import DataError, RunError
from ssft.heads import HEADS, Identity, Projection
from ssft.losses.pseudo_label import PseudoLabel
from ssft.losses.swapped_prediction import SwappedPrediction
from ssft.losses.weighted import Weighted
from ssft.types import Frames, Utterance
from ssft.units import (
    Origin,
    Quantizer,
    acoustic_pieces,
    codebook_of_run,
    codebook_quantizer,
    draw_utterances,
    fit_kmeans,
    windows,
)


def utterance(name: str, seconds: float = 1.0, start: float = 0.0) -> Utterance:
    return Utterance(name, Path(name), seconds, start)


def nearest(frames: np.ndarray, centroids: np.ndarray) -> list[int]:
    """The centroid at the smallest distance, frame by frame, in float64."""
    codes = []
    for frame in frames.astype(np.float64):
        distances = [sum((frame - centroid) ** 2) for centroid in centroids.astype(np.float64)]
        codes.append(int(np.argmin(distances)))
    return codes


# --- quantizer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean_removed", [False, True])
def test_a_frame_gets_its_nearest_centroid(mean_removed: bool) -> None:
    rng = np.random.default_rng(0)
    frames, centroids = rng.normal(3.0, 1.0, (40, 6)).astype("f"), rng.normal(0.0, 1.0, (11, 6)).astype("f")
    quantizer = Quantizer(torch.from_numpy(centroids), mean_removed=mean_removed)
    expected = nearest(frames - frames.mean(0) * mean_removed, centroids)
    assert quantizer(torch.from_numpy(frames)).tolist() == expected
    assert len(set(expected)) > 1


def test_projection_relu_and_length_come_in_the_heads_order() -> None:
    """The codes are those of the real head's frames."""
    torch.manual_seed(0)
    head = Projection(5, hidden=(7,))
    head.materialize(6)
    codebook = torch.randn(9, 5)
    layers = [(head.layers[0].weight, head.layers[0].bias), (head.layers[2].weight, head.layers[2].bias)]
    frames = torch.randn(30, 6)
    projected = head(Frames(frames[None], torch.tensor([30]))).values[0].detach().double().numpy()
    rows = codebook.double().numpy()
    cosines = [[row @ frame / np.sqrt(row @ row) for row in rows] for frame in projected]
    codes = codebook_quantizer(layers, codebook)(frames).tolist()
    assert codes == np.argmax(cosines, axis=1).tolist()
    assert len(set(codes)) > 2


def test_parts_of_an_utterance_are_put_together_in_order() -> None:
    quantizer = Quantizer(torch.tensor([[0.0], [1.0], [2.0]]))
    stream = [
        (utterance("a", start=30.0), torch.tensor([[2.0]])),
        (utterance("b"), torch.tensor([[1.0]])),
        (utterance("a", start=0.0), torch.tensor([[0.0], [1.0]])),
    ]
    assert {name: codes.tolist() for name, codes in quantizer.encode(stream).items()} == {"a": [0, 1, 2], "b": [1]}


def test_another_encoders_frames_are_refused() -> None:
    with pytest.raises(DataError, match=r"for frames \[F, 4\], not \[3, 5\]; use their encoder"):
        Quantizer(torch.zeros(2, 4))(torch.zeros(3, 5))


@pytest.mark.parametrize("origin", [None, Origin("tiny", 4), Origin("a/b", None, "main", "abc")])
def test_a_quantizer_is_read_back(tmp_path: Path, origin: Origin | None) -> None:
    layers = tuple((torch.randn(shape), torch.randn(shape[0])) for shape in ((7, 6), (5, 7)))
    written = Quantizer(torch.randn(9, 5), layers, mean_removed=True, normalize_before=True, origin=origin)
    written.save(tmp_path / "q.safetensors")
    read = Quantizer.load(tmp_path / "q.safetensors")
    assert (read.origin, read.mean_removed, read.normalize_before) == (origin, True, True)
    frames = torch.randn(50, 6)
    assert torch.equal(read(frames), written(frames))


def test_what_is_no_quantizer(tmp_path: Path) -> None:
    path = tmp_path / "q.safetensors"
    with pytest.raises(DataError, match=r"does not exist. `ssft units fit` makes"):
        Quantizer.load(path)
    save_file({"centroids": torch.zeros(2, 2)}, path)
    with pytest.raises(DataError, match=r"is not a quantizer. `ssft units fit MODEL` makes one"):
        Quantizer.load(path)
    path.write_bytes(b"\0" * 20)
    with pytest.raises(DataError, match="cannot be read as a quantizer"):
        Quantizer.load(path)
    with pytest.raises(DataError, match=r"q.npy: a quantizer is kept in a .safetensors file"):
        Quantizer(torch.zeros(2, 2)).save(tmp_path / "q.npy")


# --- k-means -------------------------------------------------------------------------------------------------------

CENTRES = 10.0 * np.eye(5, 8)


def clouds(count: int = 20, shift: float = 0.0, seed: int = 0) -> Iterator[tuple[Utterance, Tensor]]:
    """Utterances whose frames lie around five centres; each utterance has an offset of its own if `shift`."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        centres = CENTRES[rng.permutation(np.arange(50) % 5)]
        frames = centres + 0.1 * rng.standard_normal((50, 8)) + shift * rng.standard_normal(8)
        yield utterance(f"{number}"), torch.from_numpy(frames.astype(np.float32))


def test_k_means_finds_clouds() -> None:
    quantizer, frames = fit_kmeans(clouds(), clusters=5)
    assert frames == 1000
    found = quantizer.centroids.numpy()
    order = found.argmax(1).argsort()
    assert np.allclose(found[order], CENTRES, atol=0.1)


def test_removing_the_mean_undoes_an_utterances_offset() -> None:
    agreement = {}
    for mean_removed in (False, True):
        quantizer, _ = fit_kmeans(clouds(shift=20.0), clusters=5, mean_removed=mean_removed)
        cloud = {item.id: frames.argmax(1).numpy() for item, frames in clouds()}
        codes = quantizer.encode(clouds(shift=20.0))
        table = np.zeros((5, 5))
        for name in codes:
            np.add.at(table, (codes[name], cloud[name]), 1)
        agreement[mean_removed] = table.max(1).sum() / table.sum()
    assert agreement[True] == 1.0
    assert agreement[False] < 0.7


def test_the_same_seed_gives_the_same_units_in_any_order() -> None:
    frames = list(clouds())
    first, _ = fit_kmeans(frames, clusters=7, seed=3, most_frames=300)
    again, _ = fit_kmeans(frames[::-1], clusters=7, seed=3, most_frames=300)
    other, _ = fit_kmeans(frames, clusters=7, seed=4, most_frames=300)
    assert torch.equal(first.centroids, again.centroids)
    assert not torch.equal(first.centroids, other.centroids)


@pytest.mark.parametrize("most", [1, 40, 999, 1000, 5000])
def test_the_sample_is_bounded_and_uniform(most: int) -> None:
    quantizer, frames = fit_kmeans(clouds(), clusters=1, most_frames=most)
    assert frames == min(most, 1000)
    # The mean of a uniform sample, which is what one cluster is.
    tolerance = 5 * 10 / np.sqrt(min(most, 1000))
    assert np.allclose(quantizer.centroids.numpy(), CENTRES.mean(0), atol=tolerance)


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(DataError, match=r"51 clusters need at least as many frames, but there are 50. Give more"):
        fit_kmeans(clouds(1), clusters=51)
    with pytest.raises(DataError, match="there are 0"):
        fit_kmeans([], clusters=2)


def test_a_broken_encoder_is_named() -> None:
    with pytest.raises(DataError, match="frames of 'x' contain NaN or infinity"):
        fit_kmeans([(utterance("x"), torch.full((5, 2), torch.inf))], clusters=2)


@given(seconds=st.lists(st.floats(0.2, 900.0), min_size=1, max_size=30), hours=st.floats(0.001, 2.0))
def test_utterances_are_drawn_until_there_are_enough_hours(seconds: list[float], hours: float) -> None:
    all_of_them = [utterance(str(number), length) for number, length in enumerate(seconds)]
    drawn = draw_utterances(all_of_them, hours=hours, seed=1)
    total = [item.seconds for item in drawn]
    assert len({item.id for item in drawn}) == len(drawn) > 0
    assert len(drawn) == len(all_of_them) or sum(total) >= hours * 3600
    assert sum(total[:-1]) < hours * 3600
    assert drawn == draw_utterances(all_of_them, hours=hours, seed=1)


# --- long recordings -----------------------------------------------------------------------------------------------


def frames_of(seconds: float) -> int:
    return (round(seconds * 16_000) - 400) // 320 + 1


def recording(path: Path, pattern: str, *, rate: int = 16_000, last: float = 1.0) -> Utterance:
    """A second of noise for each `x` and of silence for each `.`; the last is `last` seconds long."""
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal(rate) * (0.1 if letter == "x" else 0.0) for letter in pattern]
    parts[-1] = parts[-1][: round(last * rate)]
    wave = np.concatenate(parts)
    soundfile.write(path, wave, rate)
    return Utterance("long", path, len(wave) / rate)


@pytest.mark.parametrize(
    ("pattern", "last", "starts"),
    [
        ("x", 1.0, [0]),
        ("xxx", 1.0, [0, 1, 2]),
        ("xxx", 0.0125, [0, 1]),  # half a frame is no part
        ("xxx", 0.03, [0, 1, 2]),
        ("x.x", 1.0, [0, 2]),
        ("..x.x.", 1.0, [0, 4]),
        ("....", 1.0, [0]),
    ],
)
def test_windows_cover_everything_and_none_is_silent(
    tmp_path: Path, pattern: str, last: float, starts: list[int]
) -> None:
    whole = recording(tmp_path / "a.wav", pattern, last=last)
    parts = windows(whole, seconds=1.0)
    assert [part.start for part in parts] == starts
    assert {part.id for part in parts} == {"long"}
    assert sum(frames_of(part.seconds) for part in parts) == frames_of(whole.seconds)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("start", [0.0, 0.33333])
def test_windows_keep_the_frames_together_at_every_rate(tmp_path: Path, rate: int, start: float) -> None:
    from ssft.data import read_audio

    whole = recording(tmp_path / "a.wav", "xxxxx", rate=rate, last=0.7)
    segment = Utterance("long", whole.path, whole.seconds - start, start)
    parts = windows(segment, seconds=1.0)
    counts = [frames_of(len(read_audio(p.path, start=p.start, seconds=p.seconds)) / 16_000) for p in parts]
    assert counts[:-1] == [50] * 4
    assert [part.start - start for part in parts] == pytest.approx([0, 1, 2, 3, 4])
    assert abs(sum(counts) - frames_of(segment.seconds)) <= 1


# --- a run's codebook ----------------------------------------------------------------------------------------------


def make_run(
    folder: Path, head: nn.Module, loss: nn.Module, *, step: int = 40, layers: tuple[int, ...] = (), copies: int = 1
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The parts of a run folder that hold its codebook, with the names that training gives them."""
    import copy

    heads = nn.ModuleList(copy.deepcopy(head) for _ in range(copies))
    losses = nn.ModuleList(copy.deepcopy(loss) for _ in range(copies))
    for own_head, own_loss in zip(heads, losses, strict=True):
        own_loss.materialize(own_head.materialize(6) if isinstance(own_head, Projection) else 6)
    state = nn.ModuleDict({"heads": heads, "losses": losses}).state_dict()
    CheckpointFolder(folder / "checkpoints").save(Checkpoint(dict(state), {}, {"step": step}), step)
    (folder / "adapted").mkdir(exist_ok=True)
    recipe = {"head": describe(head, [HEADS]), "views": {"loss_layers": list(layers)}}
    facts = {"steps": step, "recipe": recipe}
    (folder / "adapted" / "ssft.json").write_text(json.dumps(facts))
    return heads, losses


class OwnProjection(Projection):
    """Of somebody's own, and who knows what it does."""


class ScaledProjection(Projection):
    def materialize(self, dim: int) -> int:
        self.scale = nn.Parameter(torch.ones(dim))
        return super().materialize(dim)


def codes_of(head: nn.Module, codebook: Tensor, frames: Tensor) -> list[int]:
    seen = head(Frames(frames[None], torch.tensor([len(frames)]))).values[0]
    return (seen @ codebook.T).argmax(1).tolist()


def test_the_codebook_of_a_run_behind_its_head(tmp_path: Path) -> None:
    (head,), (loss,) = make_run(tmp_path, Projection(5, hidden=(7,)), SwappedPrediction(codebook_size=20))
    quantizer = codebook_of_run(tmp_path)
    frames = torch.randn(60, 6)
    assert quantizer(frames).tolist() == codes_of(head, loss.codebook, frames)
    assert quantizer.origin == Origin(str(tmp_path / "adapted"), layer=None)
    assert quantizer.summary() == f"20 codes of a trained codebook of the last hidden state of {tmp_path / 'adapted'}"


@pytest.mark.parametrize("l2_normalize", [False, True])
def test_the_codebook_of_a_weighted_sum_behind_its_own_head(tmp_path: Path, l2_normalize: bool) -> None:
    loss = Weighted(
        losses={"labels": PseudoLabel(classes=4), "spin": SwappedPrediction(codebook_size=20)},
        heads={"spin": Projection(5)},
    )
    (head,), (loss,) = make_run(tmp_path, Identity(l2_normalize=l2_normalize), loss)
    frames = torch.randn(60, 6)
    seen = head(Frames(frames[None], torch.tensor([60]))).values[0]
    expected = codes_of(loss.heads["spin"], loss.losses["spin"].codebook, seen)
    assert codebook_of_run(tmp_path)(frames).tolist() == expected


def test_of_several_layers_the_last(tmp_path: Path) -> None:
    heads, losses = make_run(tmp_path, Projection(5), SwappedPrediction(codebook_size=20), layers=(6, 4), copies=2)
    frames = torch.randn(60, 6)
    quantizer = codebook_of_run(tmp_path)
    assert quantizer.origin == Origin(str(tmp_path / "adapted"), layer=6)
    assert quantizer(frames).tolist() == codes_of(heads[1], losses[1].codebook, frames)
    assert quantizer(frames).tolist() != codes_of(heads[0], losses[0].codebook, frames)


def test_of_several_codebooks_one_is_chosen_by_its_size(tmp_path: Path) -> None:
    make_run(tmp_path, Projection(5), SwappedPrediction(codebook_size=(20, 300)))
    assert len(codebook_of_run(tmp_path, size=20).centroids) == 20
    with pytest.raises(RunError, match=r"codebooks of 20, 300 codes. Choose one: --codebook 300"):
        codebook_of_run(tmp_path)
    with pytest.raises(RunError, match=r"codebooks of 20, 300 codes, not 7. Choose"):
        codebook_of_run(tmp_path, size=7)


def test_the_checkpoint_is_that_of_the_adapted_model(tmp_path: Path) -> None:
    """The run went on after its export: encoder and codebook of different steps would not fit."""
    (head,), (loss,) = make_run(tmp_path, Projection(5), SwappedPrediction(codebook_size=20), step=40)
    exported = (tmp_path / "adapted" / "ssft.json").read_text()
    make_run(tmp_path, Projection(5), SwappedPrediction(codebook_size=20), step=80)
    (tmp_path / "adapted" / "ssft.json").write_text(exported)
    frames = torch.randn(60, 6)
    assert codebook_of_run(tmp_path)(frames).tolist() == codes_of(head, loss.codebook, frames)
    make_run(tmp_path, Projection(5), SwappedPrediction(codebook_size=20), step=120)
    (tmp_path / "adapted" / "ssft.json").write_text(exported)
    with pytest.raises(RunError, match=r"of step 40, whose checkpoint is not there any more. Export the newest one"):
        codebook_of_run(tmp_path)


def test_runs_without_a_codebook(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"not a run with an adapted encoder. Write it with: ssft export"):
        codebook_of_run(tmp_path)
    make_run(tmp_path, Identity(), PseudoLabel(classes=4))
    with pytest.raises(RunError, match=r"has no codebook.* ssft units fit"):
        codebook_of_run(tmp_path)


def test_a_head_that_is_no_projection_is_refused(tmp_path: Path) -> None:
    two = Weighted(losses={"spin": SwappedPrediction(codebook_size=20)}, heads={"spin": Projection(5)})
    for head, loss in (
        (ScaledProjection(5), SwappedPrediction(codebook_size=20)),
        (OwnProjection(5), SwappedPrediction(codebook_size=20)),
        (Projection(6), two),
    ):
        make_run(tmp_path, head, loss)
        with pytest.raises(RunError, match="a head that is not one Projection"):
            codebook_of_run(tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path, Projection(5), SwappedPrediction(codebook_size=20))
    path = tmp_path / "checkpoints" / "step-000040" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="step-000040 is damaged"):
        codebook_of_run(tmp_path)


# --- pieces --------------------------------------------------------------------------------------------------------

CODES = hnp.arrays(np.int64, st.integers(1, 40), elements=st.sampled_from([0, 1, 2, 3, 900, 65_533]))


def merged(codes: np.ndarray) -> list[int]:
    return [int(code) for index, code in enumerate(codes) if index == 0 or code != codes[index - 1]]


@given(corpus=st.lists(CODES, min_size=1, max_size=8), more=st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_pieces_cover_every_frame_and_spell_the_units(corpus: list[np.ndarray], more: int) -> None:
    codes = {str(number): own for number, own in enumerate(corpus)}
    vocabulary = len(np.unique(np.concatenate(corpus))) + more
    pieces = acoustic_pieces(codes, vocabulary=vocabulary)
    assert set().union(*pieces.labels.values()) == set(range(len(pieces.codes)))
    assert len(pieces.codes) <= vocabulary
    assert pieces.labels.keys() == codes.keys()
    for name, own in codes.items():
        labels = pieces.labels[name]
        assert labels.shape == own.shape
        # Wherever a label stays, the frames spell its piece, once or several times.
        edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
        for begin, end in pairwise(edges):
            piece, spelt = list(pieces.codes[labels[begin]]), merged(own[begin:end])
            assert spelt == piece * (len(spelt) // len(piece))


def test_frequent_sequences_become_pieces() -> None:
    """Worked by hand: 5-2 is the most frequent pair, then 5-2 with 7."""
    codes = {"a": np.array([5, 5, 2, 7, 5, 2]), "b": np.array([5, 2, 2, 7])}
    two = acoustic_pieces(codes, vocabulary=4)
    assert two.codes == ((7,), (5, 2))
    assert {name: labels.tolist() for name, labels in two.labels.items()} == {
        "a": [1, 1, 1, 0, 1, 1],
        "b": [1, 1, 1, 0],
    }
    three = acoustic_pieces(codes, vocabulary=5)
    assert sorted(three.codes) == [(5, 2), (5, 2, 7)]


def test_without_room_the_units_themselves_are_the_pieces() -> None:
    codes = {"a": np.array([9, 9, 4, 9])}
    pieces = acoustic_pieces(codes, vocabulary=2)
    assert [pieces.codes[label] for label in pieces.labels["a"]] == [(9,), (9,), (4,), (9,)]


@pytest.mark.parametrize(
    ("codes", "vocabulary", "message"),
    [
        ([0, 1, 2], 2, "2 pieces are fewer than the 3 units that occur.* Ask for more than 3"),
        ([65_534], 5, "Units are 0 to 65533, not 65534. Use fewer"),
        ([-1], 5, "Units are 0 to 65533, not -1"),
    ],
)
def test_pieces_refuse(codes: list[int], vocabulary: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        acoustic_pieces({"a": np.array(codes)}, vocabulary=vocabulary)


def test_no_units_no_pieces() -> None:
    with pytest.raises(DataError, match="no units to make pieces of"):
        acoustic_pieces({}, vocabulary=5)
