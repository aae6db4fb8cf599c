"""DINOv2 vision encoders (Oquab et al. 2023, arXiv:2304.07193) through transformers."""
