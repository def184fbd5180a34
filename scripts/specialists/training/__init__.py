"""LoRA training: targets, base model, 4 bits, trainer. No database, no git."""
