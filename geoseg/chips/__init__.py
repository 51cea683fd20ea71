"""Training data on disk (:mod:`.store`, :mod:`.split`) and in tensors (:mod:`.dataset`)."""
