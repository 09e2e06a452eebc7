"""Round after round: tune captioner and filter, clean the web's pairs, pretrain a new model on what was kept."""
