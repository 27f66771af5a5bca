"""SPIN with 2,048 codes on HuBERT-base (Chang et al., Interspeech 2023): 5,000 steps, 356 h.

As recipes/spin_hubert_base.py, with more codes: finer units, and the labels that R-Spin starts from.

    python recipes/spin_2048_hubert_base.py --data.root ~/corpora/LibriSpeech/train-clean-100
"""

from dataclasses import replace

from ssft import run
from ssft.losses import SwappedPrediction
from ssft.recipe import load_recipe

recipe = replace(
    load_recipe("spin_hubert_base"),
    name="spin_2048_hubert_base",
    loss=SwappedPrediction(2048, epsilon=0.02, temperature=0.1, sinkhorn_iterations=3),
)

if __name__ == "__main__":
    run(recipe)
