"""Trained models in lmms-eval, which finds them by the entry point `fvlm` of its group `lmms_eval.models`."""
