"""python -m tweenlet: the same as the command tweenlet."""

from tweenlet.cli import main

main()
