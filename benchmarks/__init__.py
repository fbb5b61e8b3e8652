"""Side-by-side measurements of rewardgap and its peers: `python -m benchmarks`, or `make bench`."""
