"""One thread for every test: on tiny pictures, threads that wait for each other cost more than they give."""

import cv2
import torch

torch.set_num_threads(1)
cv2.setNumThreads(1)
