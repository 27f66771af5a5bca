"""LASER on WavLM-base (Meghanani & Hain, Interspeech 2024): 3,600 steps, 101 h.

As recipes/laser_hubert_base.py, with the wider range of speeds, the smaller margin and the weaker regulariser that the
authors use for WavLM. The encoder is WavLM Base, not Base+.

    python recipes/laser_wavlm_base.py --data.root ~/corpora/LibriSpeech/train-clean-100
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import Compose, OneOf, PitchShift, SpeedPerturb
from ssft.heads import Projection
from ssft.losses import Laser

recipe = Recipe(
    name="laser_wavlm_base",
    encoder=Encoder("microsoft/wavlm-base", trainable_layers=2),
    views=Views(
        augmented=Compose(
            [
                SpeedPerturb(factors=(0.8, 0.85, 0.9, 1.0, 1.1, 1.15, 1.2)),
                OneOf([PitchShift(semitones=2), PitchShift(semitones=-2)]),
            ]
        ),
        reference="student",
    ),
    head=Projection(256, l2_normalize=True),
    loss=Laser(gamma=0.1, alpha=0.15, sigma=0, margin=1.0, length_norm="none"),
    data=Data(root="data/LibriSpeech/train-clean-100", max_seconds=25.0, workers=4),
    train=Train(steps=3600, batch_seconds=101, lr=2e-5, warmup_steps=1000, clip_norm=1.0, eps=1e-7, save_every=400),
    official={"encoder": {"train_also": ["encoder.layer_norm"], "frozen_dropout": True}},
)

if __name__ == "__main__":
    run(recipe)
