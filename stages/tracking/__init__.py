"""What a tracker goes by between two detections: where a face moves, and whether the picture shows something new."""
