"""The process and the machine: caches, devices, memory, threads, files that appear whole or not at all."""
