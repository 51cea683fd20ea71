"""Renders scenes: chips to pixels, block by block, in bounded memory, stoppable at any time."""
