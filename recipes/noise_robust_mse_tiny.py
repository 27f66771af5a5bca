"""Noise-robust regression (nr-ssft) on the embedded tiny encoder: offline, two minutes on a laptop.

The method of recipes/noise_robust_mse_hubert_base.py with the settings of recipes/laser_tiny.py, and pink noise, which
needs no recordings. The clean original is delayed a little, so that position says nothing.

    python recipes/noise_robust_mse_tiny.py --data.root ~/recordings --views.augmented.source pink
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import AddNoise
from ssft.heads import Identity
from ssft.losses import FrameRegression, TemporalContrast, Weighted

recipe = Recipe(
    name="noise_robust_mse_tiny",
    encoder=Encoder("tiny", trainable_layers=2),
    views=Views(augmented=AddNoise("pink", snr_db=(20.0, 10.0, 5.0)), reference="student", pad_jitter=(0.02, 0.05)),
    head=Identity(l2_normalize=True),
    loss=Weighted(
        losses={
            "regression": FrameRegression(distance="mse", reduction="sum", align="index"),
            "repulsion": TemporalContrast(sigma=0, margin=1.1),
        },
        weights={"regression": 1.0, "repulsion": 0.4},
    ),
    data=Data(root="demo", max_seconds=4.0),
    train=Train(steps=80, batch_seconds=48, lr=3e-4, warmup_steps=10, save_every=40, cache_variants=2),
)

if __name__ == "__main__":
    run(recipe)
