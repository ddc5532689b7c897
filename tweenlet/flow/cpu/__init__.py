"""The CPU backend of classical flow: bindings with the names of the files beside this folder."""
