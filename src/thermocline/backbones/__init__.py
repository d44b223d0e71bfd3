"""What backbones of all inputs share: where pretrained weights come from, adapters, corrected settings."""
