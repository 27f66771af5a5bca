r"""R-Spin on WavLM-base (Chang & Glass, NAACL 2024): 10,000 steps, all layers.

As recipes/rspin_hubert_base.py. The encoder is WavLM Base, not Base+.

    python recipes/rspin_wavlm_base.py --data.root DIR --data.targets PIECES --views.original.source NOISE_DIR \
        --views.augmented.steps.1.source NOISE_DIR
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import AddNoise, Compose, SpeakerPerturb
from ssft.heads import Identity, Projection
from ssft.losses import PseudoLabel, SwappedPrediction, Weighted

recipe = Recipe(
    name="rspin_wavlm_base",
    encoder=Encoder("microsoft/wavlm-base", trainable_layers=12),
    views=Views(
        original=AddNoise("data/noise", min_snr_db=-10.0, max_snr_db=10.0),
        augmented=Compose([SpeakerPerturb(), AddNoise("data/noise", min_snr_db=-10.0, max_snr_db=10.0)]),
        reference="student",
    ),
    head=Identity(l2_normalize=False),
    loss=Weighted(
        losses={"spin": SwappedPrediction(32), "pieces": PseudoLabel(classes=40_000)},
        weights={"spin": 1.0, "pieces": 5.0},
        heads={"spin": Projection(256, l2_normalize=True)},
    ),
    data=Data(root="data/LibriSpeech", targets="data/pieces.safetensors", max_seconds=17.0, workers=8),
    train=Train(steps=10_000, batch_seconds=384, lr=1e-4, warmup_steps=4000, clip_norm=10.0, save_every=500),
)

if __name__ == "__main__":
    run(recipe)
