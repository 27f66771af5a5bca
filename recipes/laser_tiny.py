"""LASER on the embedded tiny encoder: offline, two minutes on a laptop.

The method of recipes/laser_hubert_base.py with what a 3 M parameter encoder needs: no projection between encoder and
loss, a learning rate 15 times that of the paper, and a regulariser divided by the squared length, so that short and
long utterances weigh the same; alpha is larger for it.

    python recipes/laser_tiny.py --data.root ~/recordings
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import Compose, OneOf, PitchShift, SpeedPerturb
from ssft.heads import Identity
from ssft.losses import Laser

recipe = Recipe(
    name="laser_tiny",
    encoder=Encoder("tiny", trainable_layers=2),
    views=Views(
        augmented=Compose(
            [SpeedPerturb(factors=(0.9, 1.0, 1.1)), OneOf([PitchShift(semitones=2), PitchShift(semitones=-2)])]
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
