"""SAM 2 as fixed-shape functions of tensors: models, image encoder, memory, prompts, one step."""
