"""The whole loop on one machine: traffic, a shift, labels, a retraining, a trial, a promotion."""
