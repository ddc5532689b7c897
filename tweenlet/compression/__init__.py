"""Networks made small: sparsify or prune, read widths, inherit, distil, report."""
