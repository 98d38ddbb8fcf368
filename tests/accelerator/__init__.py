"""The accelerator tier: whole trials on a GPU, or on a device that pretends to be one."""
