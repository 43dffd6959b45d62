"""What is measured and carried along: histograms, the loop's longest turn, W3C trace contexts.

It knows no other room, and every room may use it.
"""
