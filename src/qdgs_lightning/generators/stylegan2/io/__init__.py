"""StyleGAN2 checkpoints of NVIDIA's, rosinality's and other projects."""
