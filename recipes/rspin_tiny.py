"""R-Spin on the embedded tiny encoder: offline, a few minutes on a laptop, all layers.

The method of recipes/rspin_hubert_base.py with what a 3 M parameter encoder needs, and pink noise, which needs no
recordings. The bundled speech has labels; for your own, make them first:

    ssft units fit tiny --data ~/recordings --layer 4 --clusters 128 --mean-removed --out units.safetensors
    ssft units encode units.safetensors --data ~/recordings --pieces 512 --out pieces.safetensors
    python recipes/rspin_tiny.py --data.root ~/recordings --data.targets pieces.safetensors
"""

from ssft import Data, Encoder, Recipe, Train, Views, run
from ssft.augment import AddNoise, Compose, SpeakerPerturb
from ssft.heads import Identity, Projection
from ssft.losses import PseudoLabel, SwappedPrediction, Weighted

recipe = Recipe(
    name="rspin_tiny",
    encoder=Encoder("tiny", trainable_layers=6),
    views=Views(
        original=AddNoise("pink", min_snr_db=-5.0, max_snr_db=20.0),
        augmented=Compose([SpeakerPerturb(), AddNoise("pink", min_snr_db=-5.0, max_snr_db=20.0)]),
        reference="student",
    ),
    head=Identity(l2_normalize=False),
    loss=Weighted(
        losses={"spin": SwappedPrediction(32), "pieces": PseudoLabel(classes=512)},
        weights={"spin": 1.0, "pieces": 5.0},
        heads={"spin": Projection(128, l2_normalize=True)},
    ),
    data=Data(root="demo", targets="demo", max_seconds=4.0),
    train=Train(steps=80, batch_seconds=48, lr=3e-4, head_lr=1e-3, warmup_steps=10, save_every=40, cache_variants=2),
)

if __name__ == "__main__":
    run(recipe)
