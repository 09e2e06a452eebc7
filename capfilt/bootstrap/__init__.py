"""Bootstrapping rounds: fine-tune captioner and filter, clean the web pairs, pretrain a new model on the result."""
