"""SPIN with 2,048 codes on WavLM-base (Chang et al., Interspeech 2023): 5,000 steps, 356 h.

As recipes/spin_2048_hubert_base.py. The encoder is WavLM Base, not Base+.

    python recipes/spin_2048_wavlm_base.py --data.root ~/corpora/LibriSpeech/train-clean-100
"""

from dataclasses import replace

from ssft import Encoder, run
from ssft.recipe import load_recipe

recipe = replace(
    load_recipe("spin_2048_hubert_base"),
    name="spin_2048_wavlm_base",
    encoder=Encoder("microsoft/wavlm-base", trainable_layers=2),
)

if __name__ == "__main__":
    run(recipe)
