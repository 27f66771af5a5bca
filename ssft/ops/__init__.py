"""Pure numerics: tensors in, tensors out. Nothing here knows about audio files, encoders or runs."""
