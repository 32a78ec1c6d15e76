"""Pictures of what a table says over time: `auflow plot`, and the plots of `auflow report`."""
