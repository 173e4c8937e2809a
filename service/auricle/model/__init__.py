"""What a model is: its bundle, metadata, heads, labels, calibration and quantisation."""
