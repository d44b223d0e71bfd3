"""What all pretrained backbones share: where weights come from, adapters, and settings put right."""
