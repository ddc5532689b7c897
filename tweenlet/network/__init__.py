"""The network: one file per box of the paper's figure, put together in ``stmfnet``."""
