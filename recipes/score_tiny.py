"""SCORE on the embedded tiny encoder: offline, a minute or two on a laptop.

The method of recipes/score_hubert_base.py with what a 3 M parameter encoder needs: no projection between encoder and
loss, and a learning rate 15 times that of the paper, which was chosen for an encoder of 95 M.

    python recipes/score_tiny.py --data.root ~/recordings
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import Compose, OneOf, PitchShift, SpeedPerturb
from ssft.heads import Identity
from ssft.losses import SoftDTW

recipe = Recipe(
    name="score_tiny",
    encoder=Encoder("tiny", trainable_layers=2),
    views=Views(
        augmented=Compose(
            [SpeedPerturb(factors=(0.9, 1.0, 1.1)), OneOf([PitchShift(semitones=2), PitchShift(semitones=-2)])]
        ),
        reference="frozen",
        swap=0.5,
    ),
    head=Identity(l2_normalize=True),
    loss=SoftDTW(gamma=0.1, divergence=True, normalize="total_length"),
    data=Data(root="demo", max_seconds=4.0),
    train=Train(steps=80, batch_seconds=48, lr=3e-4, warmup_steps=10, save_every=40, cache_variants=2),
)

if __name__ == "__main__":
    run(recipe)
