"""Network compression: sparsify or prune, read widths, inherit, distil, report."""
