"""bf16 is for computing, float32 for weights and losses; and what is frozen is the same in every call.

Cosines are per frame, against the same encoder in float32; `centred` ones after the mean frame is taken from both
sides, as what all frames share would hide a difference between them.
"""

from __future__ import annotations

import pytest
import torch
from random_encoders import LAYERS, VARIETIES, random_encoder, random_waves
from torch import nn
from torch.nn.functional import cosine_similarity

from ssft.encoders import Encoder, FrozenReference, PretrainedEncoder, SplitEncoder
from ssft.engine import CorrespondenceModel
from ssft.errors import EncoderError
from ssft.heads import Projection
from ssft.losses import LOSSES, FrameLoss, SoftDTW
from ssft.types import Frames, LossOutput, Pair, PairBatch, Waves

BF16 = {"device_type": "cpu", "dtype": torch.bfloat16}


def cosines(split, waves, *, centred=False):
    """Of every real frame's last hidden state, in bf16 against float32."""
    with torch.no_grad():
        exact = split(waves).valid()
        with torch.autocast(**BF16):
            rough = split.top(split.bottom(waves)).valid()
    assert exact.dtype == torch.float32
    assert rough.isfinite().all()
    assert not torch.equal(rough.float(), exact), "autocast did nothing"
    if centred:
        exact, rough = exact - exact.mean(0), rough.float() - rough.float().mean(0)
    return cosine_similarity(exact, rough.float(), dim=-1)


def pair_batch(*lengths):
    items = list(random_waves(*lengths).items())
    pairs = [Pair(str(n), wave, wave[: len(wave) * 7 // 8], seconds=1.0) for n, wave in enumerate(items)]
    return PairBatch.collate(pairs)


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_bf16_is_close_to_float32_in_every_family(family, norm):
    """Within 0.99 for every frame and 0.999 for half of them; measured: 0.997 (a large WavLM) and 0.9998."""
    for count, waves in ((1, random_waves(9000, 16000, 5000)), (LAYERS, random_waves(12000))):
        split = SplitEncoder(random_encoder(family, norm), count).eval()
        found = cosines(split, waves)
        assert found.min() >= 0.99
        assert found.median() >= 0.999
        assert cosines(split, waves, centred=True).median() >= 0.999


def test_bf16_is_close_to_float32_on_real_speech(shared_speech):
    """With trained weights, whose outliers random ones lack; measured: 0.9998 for every frame, 0.99998 for half."""
    from ssft.data import read_audio

    files = sorted((shared_speech / "speechocean762_train" / "audio").glob("*.opus"))[:4]
    waves = Waves.stack([torch.from_numpy(read_audio(path))[: 3 * 16_000] for path in files])
    split = Encoder("tiny").load().eval()
    for centred in (False, True):
        found = cosines(split, waves, centred=centred)
        assert found.min() >= 0.999
        assert found.median() >= 0.9999


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_a_step_in_bf16_has_finite_float32_gradients_close_to_those_of_float32(family, norm):
    """The whole model, as it is trained: gradients within a cosine of 0.95; measured: 0.980 to 0.999."""
    batch, gradients = pair_batch(16000, 9000), []
    for enabled in (False, True):
        model = CorrespondenceModel(
            SplitEncoder(random_encoder(family, norm, dropout=0.0), 1), Projection(8), SoftDTW()
        )
        with torch.autocast(**BF16, enabled=enabled):
            output = model(batch)
        assert output["loss"].dtype == torch.float32
        output["loss"].backward()
        trained = [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]
        assert all(parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all() for parameter in trained)
        gradients.append((output["loss"].item(), torch.cat([parameter.grad.flatten() for parameter in trained])))
    (exact, exact_gradient), (rough, rough_gradient) = gradients
    assert rough == pytest.approx(exact, rel=0.02)
    assert cosine_similarity(exact_gradient, rough_gradient, dim=0) >= 0.95


def test_losses_and_their_gradients_are_float32_whatever_autocast_says():
    seen = []

    class Watch(FrameLoss):
        def compare(self, student: Frames, reference: Frames, targets: Frames | None) -> LossOutput:
            product = student.values[0] @ reference.values[0].T  # what autocast would compute in bf16
            seen.extend((student.values.dtype, reference.values.dtype, product.dtype))
            return LossOutput(product.mean(), weight=1)

    model = CorrespondenceModel(SplitEncoder(random_encoder("hubert", "group"), 1), Projection(8), Watch())
    with torch.autocast(**BF16):
        model(pair_batch(8000, 6000))["loss"].backward()
    assert set(seen) == {torch.float32}


def test_every_loss_of_ours_is_such_a_loss():
    assert all(issubclass(loss, FrameLoss) for loss in LOSSES.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_refused_with_the_reason(dtype):
    encoder = random_encoder("hubert", "group")
    encoder.model.encoder.layers[1].to(dtype)  # one layer is enough
    with pytest.raises(EncoderError, match=r"half precision \(encoder\.layers\.1\..*small steps.*model\.float\(\)"):
        PretrainedEncoder(encoder.model, encoder.extractor, source="half")
    again = PretrainedEncoder(encoder.model.float(), encoder.extractor, source="whole")
    assert again(random_waves(8000)).values.isfinite().all()


@pytest.mark.parametrize(
    ("family", "norm", "dtype"),
    [*((*variety, torch.float16) for variety in VARIETIES), ("wavlm", "layer", torch.bfloat16)],
)
def test_a_file_in_half_precision_is_loaded_as_float32(family, norm, dtype, tmp_path):
    """As many are published; the rounding is the file's, and is not repeated in every computation."""
    encoder = random_encoder(family, norm)
    rounded = {name: tensor.to(dtype) for name, tensor in encoder.model.state_dict().items()}
    encoder.model.to(dtype).save_pretrained(tmp_path)
    encoder.extractor.save_pretrained(tmp_path)
    assert f'"dtype": "{str(dtype).removeprefix("torch.")}"' in (tmp_path / "config.json").read_text()
    loaded = PretrainedEncoder.load(str(tmp_path))
    state = loaded.model.state_dict()
    assert state.keys() == rounded.keys()
    for name, tensor in state.items():
        assert not tensor.is_floating_point() or tensor.dtype == torch.float32
        assert torch.equal(tensor, rounded[name].to(tensor.dtype)), name
    assert loaded(random_waves(8000, 6000)).valid().isfinite().all()


def make_noisy(split):
    """Everything that a configuration may ask for while training, at its strongest."""
    model = split.encoder.model
    model.config.update({"layerdrop": 1.0, "apply_spec_augment": True, "mask_time_prob": 0.9, "mask_feature_prob": 0.9})
    model.config.update({"mask_time_length": 2, "mask_feature_length": 2})
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.9
    return split


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_frozen_parts_are_the_same_in_every_call_whatever_the_configuration_says(family, norm):
    encoder, waves = random_encoder(family, norm, dropout=0.9), random_waves(16000, 12000)
    expected = encoder.hidden_states(waves)
    split = make_noisy(SplitEncoder(encoder, 1)).train()
    reference = FrozenReference(split).train()
    first, second = split.bottom(waves), split.bottom(waves)
    assert torch.equal(first.values, second.values)
    reference_views = [reference(split, first, [LAYERS])[0].values for _ in range(2)]
    assert torch.equal(*reference_views)
    # PyTorch picks other kernels where gradients are wanted, as they were before the split.
    torch.testing.assert_close(first.values, expected[LAYERS - 1].values, atol=2e-6, rtol=0)
    torch.testing.assert_close(reference_views[0], expected[LAYERS].values, atol=2e-6, rtol=0)
    assert not torch.equal(split.top(first).values, split.top(first).values), "dropout of what is trained is live"


@pytest.mark.parametrize(("family", "norm"), VARIETIES)
def test_no_layer_is_dropped_and_nothing_is_masked_in_what_is_trained(family, norm):
    """Without dropout, training mode computes what eval mode does: layers are all there, and no frame is hidden."""
    split = SplitEncoder(random_encoder(family, norm, dropout=0.0), LAYERS)
    split.encoder.model.config.update({"layerdrop": 1.0, "apply_spec_augment": True, "mask_time_prob": 0.9})
    waves = random_waves(16000, 12000)
    trained = split.train()(waves).values.detach()
    torch.testing.assert_close(trained, split.eval()(waves).values.detach(), atol=2e-6, rtol=0)
