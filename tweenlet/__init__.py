"""tweenlet: in-between frames for video, and the tools that make the networks behind them small."""
