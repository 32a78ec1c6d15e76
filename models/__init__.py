"""Where the weights come from: manifest, store, download, and the readers of OpenFace's file formats."""
