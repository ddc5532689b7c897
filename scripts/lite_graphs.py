"""Write the graphs that the lite engine runs the default network by: python scripts/lite_graphs.py

They hold no weights, so that this is to be done only when the network itself has changed. Needs: the extra
onnx.
"""

from tweenlet.inference.lite import GRAPHS
from tweenlet.inference.lite_graphs import write_graphs
from tweenlet.network.config import DEFAULT

if __name__ == "__main__":
    write_graphs(DEFAULT, GRAPHS)
