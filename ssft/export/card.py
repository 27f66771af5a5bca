"""The model card of an adapted encoder."""

from __future__ import annotations

from typing import Any

from ssft.components import as_call
from ssft.encoders import PretrainedEncoder
from ssft.encoders.top import final_module_name

_CARD = """---
library_name: transformers
pipeline_tag: feature-extraction
tags:
- speech
- self-supervised-fine-tuning
- ssft{base_tag}
---

# {name}

`{base}`{revision} after self-supervised fine-tuning (SSFT) with ssft {version}: layers {layers} of
{num_layers} were trained, without labels{aim}.

## Load it

```python
{load}
frames = model(**extractor(waveform, sampling_rate=16000, return_tensors="pt")).last_hidden_state  # 16 kHz mono
```

**Which hidden state:** `last_hidden_state` is what training compared, and what to use first{norm_note}.
All other weights are those of the base model, bit for bit.
{padding_note}
## How it was made

| | |
|---|---|
| base | `{base}`{revision} |
| trained | layers {layers}{by}, {trained:,} of {total:,} parameters |
| loss | `{loss}` |
| augmentation | `{augmentation}` |
| reference | `{reference}` |
| audio | {utterances:,} utterances, {data_hours:.2f} h |
| heard | {heard_hours:.2f} h in {steps:,} steps |
| learning rate | {lr:g} |
{results}
<details><summary>All settings (recipe.yaml; <code>ssft train recipe.yaml</code> repeats the run)</summary>

```yaml
{recipe}```

</details>

The licences of the base model and of the audio apply to this model. Nothing was measured beyond what is stated here.
"""

_LOAD = """from transformers import AutoFeatureExtractor, AutoModel
extractor, model = AutoFeatureExtractor.from_pretrained("PATH"), AutoModel.from_pretrained("PATH")"""

_LOAD_ADAPTER = """from peft import PeftModel
from transformers import AutoFeatureExtractor, AutoModel
base = {base}
extractor, model = AutoFeatureExtractor.from_pretrained(**base), AutoModel.from_pretrained(**base)
model = PeftModel.from_pretrained(model, "PATH").merge_and_unload().eval()  # WavLM ignores what is not merged"""

_LAST = {"layer_norm": "the final norm", "upsample": "the return to the full frame rate"}


def model_card(
    encoder: PretrainedEncoder,
    *,
    recipe: str,
    provenance: dict[str, Any],
    results: str = "",
    adapter_only: bool = False,
) -> str:
    """Return README.md for an export.

    Args:
        encoder: the adapted encoder.
        recipe: the recipe as YAML.
        provenance: what `ssft.json` holds.
        results: Markdown with measurements, if any were made.
        adapter_only: the export is the adapter without its base.
    """
    base, layers, settings = provenance["base"], provenance["trained_layers"], provenance["recipe"]
    config = encoder.model.config
    last = final_module_name(encoder.model, encoder.family)
    total = f"`hidden_states[{encoder.num_layers}]`"
    norm_note = (
        f"; it is not the last of `hidden_states`, which lacks {_LAST[last]}" if last else f"; it equals {total}"
    )
    padding_note = (
        "\nThe first convolution normalises over time, padding included, as in the base model: encode utterances\n"
        "one at a time, or in batches of equal length, to get the features that training saw.\n"
        if getattr(config, "feat_extract_norm", None) == "group"
        else "\nIn padded batches pass the attention mask that the feature extractor returns.\n"
    )
    augmented = settings["views"]["augmented"] is not None
    on_hub = base["model"].count("/") == 1 and base["revision"]
    adapter = settings["encoder"]["adapter"]
    origin = {"pretrained_model_name_or_path": base["model"], "revision": base["revision"] or "main"}
    return _CARD.format(
        load=_LOAD_ADAPTER.format(base=origin) if adapter_only else _LOAD,
        name=provenance["name"],
        base=base["model"],
        base_tag=f"\nbase_model: {base['model']}" if on_hub else "",
        revision=f" at revision `{base['revision']}`" if base["revision"] else "",
        version=provenance["ssft"],
        layers=", ".join(map(str, layers)),
        by=f" by `{as_call(adapter)}`" if adapter else "",
        num_layers=encoder.num_layers,
        norm_note=norm_note,
        padding_note=padding_note,
        trained=provenance["trained_parameters"],
        total=sum(parameter.numel() for parameter in encoder.parameters()),
        aim=", so that an utterance and an augmented version of it are encoded alike" * augmented,
        loss=as_call(settings["loss"]),
        augmentation=as_call(settings["views"]["augmented"]) if augmented else "none",
        reference=as_call(settings["views"]["reference"]),
        utterances=provenance["data"]["utterances"],
        data_hours=provenance["data"]["hours"],
        heard_hours=provenance["heard_hours"],
        steps=provenance["steps"],
        lr=settings["train"]["lr"],
        results=f"\n## Measured\n\n{results}\n" if results else "",
        recipe=recipe,
    )
