"""The made-up farmland that the demo runs on."""
