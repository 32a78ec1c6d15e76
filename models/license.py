"""What a user is told of OpenFace's licence before anything is downloaded."""

from __future__ import annotations

__all__ = ["LICENSE_SUMMARY", "LICENSE_URL"]

LICENSE_URL = "https://github.com/TadasBaltrusaitis/OpenFace/blob/OpenFace_2.2.0/OpenFace-license.txt"

LICENSE_SUMMARY = f"""\
The model files are OpenFace's, not auflow's, and stand under OpenFace's own licence. In short:
  - academic or non-profit organisations, non-commercial research only
  - the files may not be passed on, sold, lent or sublicensed; changes to them fall under the same terms
  - publications must cite the works that Copyright.txt lists
The full text is what counts:
  {LICENSE_URL}
  (where it can be had, also stored beside the model files, as OpenFace-license.txt and Copyright.txt)
Nothing was downloaded. If you agree to the licence, type
  auflow models fetch --accept-license"""
