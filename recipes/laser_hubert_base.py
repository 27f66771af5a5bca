"""LASER on HuBERT-base (Meghanani & Hain, Interspeech 2024): 3,600 steps, 101 h.

Both waveforms go through the encoder that is being trained. Soft-DTW pulls their views together, and a regulariser
pushes frames of one utterance apart that are far from each other in time, so that they cannot all become equal.

    python recipes/laser_hubert_base.py --data.root ~/corpora/LibriSpeech/train-clean-100
    python recipes/laser_hubert_base.py --data.root ... --preset official   # as the authors' code trains it
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import Compose, OneOf, PitchShift, SpeedPerturb
from ssft.heads import Projection
from ssft.losses import Laser

recipe = Recipe(
    name="laser_hubert_base",
    encoder=Encoder("facebook/hubert-base-ls960", trainable_layers=2),
    views=Views(
        augmented=Compose(
            [SpeedPerturb(factors=(0.9, 1.0, 1.1)), OneOf([PitchShift(semitones=2), PitchShift(semitones=-2)])]
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
