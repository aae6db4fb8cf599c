"""Vision transformers of timm (Wightman 2019): AugReg, DeiT, DINOv2, SigLIP, EVA, DINOv3."""
