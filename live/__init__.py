"""The reader's side of the live bus: `auflow listen`, and `auflow keys` for who may read it from elsewhere."""
