"""The network: one file per box of the paper's figure, assembled in ``stmfnet``."""
