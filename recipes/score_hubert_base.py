"""SCORE on HuBERT-base (Meghanani & Hain, ICASSP 2024): 3,600 steps, 101 h.

An utterance and its speed- and pitch-perturbed twin should read the same. One of the two goes through the trainable top
two layers, the other through a frozen copy of them, and soft-DTW aligns what comes out.

The published code also trains two layer norms below the frozen layers, by an accident of how it counts parameters, and
keeps the dropout of frozen layers alive; this recipe does neither, so that the frozen bottom needs no gradients, unless
it is told to by --preset official.

    python recipes/score_hubert_base.py --data.root ~/corpora/LibriSpeech/train-clean-100
    python recipes/score_hubert_base.py --data.root ... --train.accumulate 8   # a step in eight parts, for a small GPU
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import Compose, OneOf, PitchShift, SpeedPerturb
from ssft.heads import Projection
from ssft.losses import SoftDTW

recipe = Recipe(
    name="score_hubert_base",
    encoder=Encoder("facebook/hubert-base-ls960", trainable_layers=2),
    views=Views(
        augmented=Compose(
            [SpeedPerturb(factors=(0.9, 1.0, 1.1)), OneOf([PitchShift(semitones=2), PitchShift(semitones=-2)])]
        ),
        reference="frozen",
        swap=0.5,
    ),
    head=Projection(256, l2_normalize=True),
    loss=SoftDTW(gamma=0.1, divergence=True, normalize="total_length"),
    data=Data(root="data/LibriSpeech/train-clean-100", max_seconds=25.0, workers=4),
    # The paper steps after 8 single utterances, 101 s on average.
    train=Train(steps=3600, batch_seconds=101, lr=2e-5, warmup_steps=1000, clip_norm=1.0, eps=1e-7, save_every=400),
    # The authors' code counts parameters to freeze them, which leaves two norms trainable and all dropout alive.
    official={
        "encoder": {"train_also": ["feature_projection.layer_norm", "encoder.layer_norm"], "frozen_dropout": True}
    },
)

if __name__ == "__main__":
    run(recipe)
