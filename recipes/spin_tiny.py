"""SPIN on the embedded tiny encoder: offline, two minutes on a laptop.

The method of recipes/spin_hubert_base.py with what a 3 M parameter encoder and batches of 48 s need: 128 codes, a
narrower projection, and higher learning rates.

    python recipes/spin_tiny.py --data.root ~/recordings
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import SpeakerPerturb
from ssft.heads import Projection
from ssft.losses import SwappedPrediction

recipe = Recipe(
    name="spin_tiny",
    encoder=Encoder("tiny", trainable_layers=2),
    views=Views(augmented=SpeakerPerturb(), reference="student"),
    head=Projection(128, l2_normalize=True),
    loss=SwappedPrediction(128, epsilon=0.02, temperature=0.1, sinkhorn_iterations=3),
    data=Data(root="demo", max_seconds=4.0),
    train=Train(steps=80, batch_seconds=48, lr=3e-4, head_lr=1e-3, warmup_steps=10, save_every=40, cache_variants=2),
)

if __name__ == "__main__":
    run(recipe)
