r"""R-Spin on WavLM-base (Chang & Glass, NAACL 2024): 10,000 steps, all layers.

As recipes/rspin_hubert_base.py. The encoder is WavLM Base, not Base+.

    python recipes/rspin_wavlm_base.py --data.root DIR --data.targets PIECES --views.original.source NOISE_DIR \
        --views.augmented.steps.1.source NOISE_DIR
"""

from dataclasses import replace

from ssft import Encoder, run
from ssft.recipe import load_recipe

recipe = replace(
    load_recipe("rspin_hubert_base"),
    name="rspin_wavlm_base",
    encoder=Encoder("microsoft/wavlm-base", trainable_layers=12),
)

if __name__ == "__main__":
    run(recipe)
