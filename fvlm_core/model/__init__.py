"""The composed model: encoder, connector and language model, and where every token goes."""
