"""Ways to other libraries: huggingface_hub's models, diffusers' schedulers. Both are extras."""
