"""Noise-robust regression (nr-ssft) on HuBERT-base (Meghanani & Hain): 3,600 steps, one GPU.

A recording and the same recording in noise have the same frames, so frame t is compared with frame t. A network can
meet that by attending to position; --views.pad_jitter "[0.02, 0.05]" takes that way from it (Meghanani & Hain, ICASSP
2026). The noise is a folder of recordings; the authors take the twelve indoor environments of DEMAND.

    python recipes/noise_robust_mse_hubert_base.py --data.root DIR --views.augmented.source NOISE_DIR
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import AddNoise
from ssft.heads import Projection
from ssft.losses import FrameRegression, TemporalContrast, Weighted

recipe = Recipe(
    name="noise_robust_mse_hubert_base",
    encoder=Encoder("facebook/hubert-base-ls960", trainable_layers=2),
    views=Views(augmented=AddNoise("data/DEMAND", snr_db=(20.0, 10.0, 5.0)), reference="student"),
    head=Projection(256, l2_normalize=True),
    loss=Weighted(
        losses={
            "regression": FrameRegression(distance="mse", reduction="sum", align="index"),
            "repulsion": TemporalContrast(sigma=0, margin=1.1),
        },
        weights={"regression": 1.0, "repulsion": 0.4},
    ),
    data=Data(root="data/LibriSpeech/train-clean-100", max_seconds=25.0, workers=4),
    train=Train(steps=3600, batch_seconds=101, lr=2e-5, warmup_steps=1000, clip_norm=1.0, eps=1e-7, save_every=400),
    official={"encoder": {"train_also": ["encoder.layer_norm"], "frozen_dropout": True}},
)

if __name__ == "__main__":
    run(recipe)
