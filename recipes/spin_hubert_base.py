"""SPIN with 256 codes on HuBERT-base (Chang et al., Interspeech 2023): 5,000 steps, 356 h.

An utterance and the same words in another voice should be assigned to the same codes. Each view predicts the codes of
the other; Sinkhorn's algorithm makes all codes equally frequent, which is what keeps the frames from becoming equal.
The voice is changed without a table of speakers and without Praat; docs/losses.md says what that approximates.

    python recipes/spin_hubert_base.py --data.root ~/corpora/LibriSpeech/train-clean-100
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import SpeakerPerturb
from ssft.heads import Projection
from ssft.losses import SwappedPrediction

recipe = Recipe(
    name="spin_hubert_base",
    encoder=Encoder("facebook/hubert-base-ls960", trainable_layers=2),
    views=Views(augmented=SpeakerPerturb(), reference="student"),
    head=Projection(256, l2_normalize=True),
    loss=SwappedPrediction(256, epsilon=0.02, temperature=0.1, sinkhorn_iterations=3),
    data=Data(root="data/LibriSpeech/train-clean-100", min_seconds=2.5, max_seconds=17.0, workers=8),
    # Sinkhorn wants many frames at once: splitting a step with train.accumulate changes what it sees.
    train=Train(
        steps=5000, batch_seconds=256, lr=1e-4, warmup_steps=2500, clip_norm=10.0, weight_decay=1e-6, save_every=500
    ),
    official={"encoder": {"frozen_dropout": True}},
)

if __name__ == "__main__":
    run(recipe)
