"""SmolLM2 language models (Allal et al. 2025, arXiv:2502.02737) and others of the Llama architecture."""
