"""One file per stage of the pipeline; each has one public function."""
