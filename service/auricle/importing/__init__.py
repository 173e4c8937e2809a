"""Models of other formats made into bundles: above the engine, which tries what was made, and below the doors."""
