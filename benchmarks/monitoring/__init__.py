"""How soon a change of the input is noticed, and how often there is an alarm without one."""
