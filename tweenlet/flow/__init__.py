"""Classical optical flow: dense inverse search, its refinement, and the flow to the frame in the middle."""
