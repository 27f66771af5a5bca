"""Noise-robust soft-DTW (nr-ssft) on the embedded tiny encoder: offline, two minutes on a laptop.

The method of recipes/noise_robust_softdtw_hubert_base.py with the settings of recipes/laser_tiny.py, and pink noise,
which needs no recordings.

    python recipes/noise_robust_softdtw_tiny.py --data.root ~/recordings --views.augmented.steps.1.source pink
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import AddNoise, Compose, SpeedPerturb
from ssft.heads import Identity
from ssft.losses import Laser

recipe = Recipe(
    name="noise_robust_softdtw_tiny",
    encoder=Encoder("tiny", trainable_layers=2),
    views=Views(
        augmented=Compose(
            [SpeedPerturb(factors=(0.9, 0.95, 1.0, 1.05, 1.1)), AddNoise("pink", snr_db=(20.0, 10.0, 5.0))]
        ),
        reference="student",
    ),
    head=Identity(l2_normalize=True),
    loss=Laser(gamma=0.1, alpha=20.0, sigma=0, margin=1.1, length_norm="squared"),
    data=Data(root="demo", max_seconds=4.0),
    train=Train(steps=80, batch_seconds=48, lr=3e-4, warmup_steps=10, save_every=40, cache_variants=2),
)

if __name__ == "__main__":
    run(recipe)
