"""Connections to other libraries: models on the Hugging Face Hub, schedulers of diffusers. Both are extras."""
