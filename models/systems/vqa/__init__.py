"""Visual question answering on a MED (BLIP, section 5.4); `capfilt ask IMAGE QUESTION --model DIR` asks it."""
