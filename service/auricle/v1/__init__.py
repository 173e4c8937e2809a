"""The wire contract's generated modules, made from ``proto/auricle/v1`` when the package is built."""
