"""How a model runs: decode, cut, batch, infer, answer."""
