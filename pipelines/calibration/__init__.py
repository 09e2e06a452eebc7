"""How far a judge's scores can be trusted, on pairs whose truth is known or made: curves, thresholds, probabilities."""
