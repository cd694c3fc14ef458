"""Trainable auto-regressive video diffusion models: network, memory, diffusion, roll-out."""
