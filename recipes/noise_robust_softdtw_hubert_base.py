"""Noise-robust soft-DTW (nr-ssft) on HuBERT-base (Meghanani & Hain): 3,600 steps, one GPU.

A recording and a faster or slower version of it in noise should read the same; LASER's loss aligns the two and keeps
frames apart. The noise is a folder of recordings; the authors take the twelve indoor environments of DEMAND.

    python recipes/noise_robust_softdtw_hubert_base.py --data.root DIR --views.augmented.steps.1.source NOISE_DIR
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import AddNoise, Compose, SpeedPerturb
from ssft.heads import Projection
from ssft.losses import Laser

recipe = Recipe(
    name="noise_robust_softdtw_hubert_base",
    encoder=Encoder("facebook/hubert-base-ls960", trainable_layers=2),
    views=Views(
        augmented=Compose(
            [
                SpeedPerturb(factors=(0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)),
                AddNoise("data/DEMAND", snr_db=(20.0, 10.0, 5.0)),
            ]
        ),
        reference="student",
    ),
    head=Projection(256, l2_normalize=True),
    loss=Laser(gamma=0.1, alpha=0.4, sigma=0, margin=1.1, length_norm="none"),
    data=Data(root="data/LibriSpeech/train-clean-100", max_seconds=25.0, workers=4),
    train=Train(steps=3600, batch_seconds=101, lr=2e-5, warmup_steps=1000, clip_norm=1.0, eps=1e-7, save_every=400),
    official={"encoder": {"train_also": ["encoder.layer_norm"], "frozen_dropout": True}},
)

if __name__ == "__main__":
    run(recipe)
